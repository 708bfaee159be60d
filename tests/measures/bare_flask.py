"""The floor for the agent's start and memory: a Flask application that answers one route, under the same gunicorn."""

from __future__ import annotations

from flask import Flask, Response

app = Flask(__name__, static_folder=None)


@app.post("/VolumeDriver.Capabilities")
def capabilities() -> Response:
    return Response('{"Capabilities": {"Scope": "global"}}\n', mimetype="application/json")
