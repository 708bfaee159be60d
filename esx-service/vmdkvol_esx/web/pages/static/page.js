// What changes by itself is fetched again: each element with data-live takes the place of the one with its id on the page
// as it is now. Without this script the page says the same, as of when it was loaded.
"use strict";

const EVERY_MS = 2000;

function live() {
  return [...document.querySelectorAll("[data-live][id]")];
}

async function refresh() {
  const answer = await fetch(location.href, { headers: { "X-Live": "1" }, cache: "no-store", redirect: "manual" });
  if (answer.status === 401) {
    // The session is over: the login page says so.
    location.reload();
    return false;
  }
  if (!answer.ok) return true;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of live()) {
    // Who is just about to press a button in it keeps it.
    if (old.contains(document.activeElement)) continue;
    const now = page.getElementById(old.id);
    if (now) old.replaceWith(document.importNode(now, true));
  }
  return live().length > 0;
}

async function follow() {
  let goesOn = true;
  if (!document.hidden) {
    // A page that cannot be reached now may be there again in a while.
    try { goesOn = await refresh(); } catch { goesOn = true; }
  }
  if (goesOn) setTimeout(follow, EVERY_MS);
}

if (live().length > 0) setTimeout(follow, EVERY_MS);
