// What changes by itself is fetched again: each element with data-live takes the place of the one with its id on the page
// as it is now, or as data-from is. Its value is after how many seconds. Without this script the page says the same, as of when it was loaded.
"use strict";

const SOON_S = 2;

function live() {
  return [...document.querySelectorAll("[data-live][id]")];
}

function pauseMs() {
  return 1000 * Math.min(...live().map((each) => Number(each.dataset.live) || SOON_S));
}

// What does not move any more must not look as if it did: at most one of these lines is there.
function tell(why) {
  for (const line of document.querySelectorAll("[data-why]")) line.hidden = line.dataset.why !== why;
}

async function refresh() {
  const from = live()[0].dataset.from || location.href;
  const answer = await fetch(from, { headers: { "X-Live": "1" }, cache: "no-store", redirect: "manual" });
  if (answer.status === 401) {
    // Not loaded again: what somebody is typing stays. Sent, it is kept over the login.
    tell("over");
    return false;
  }
  if (!answer.ok) {
    tell("away");
    return true;
  }
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const old of live()) {
    // Who is just about to press a button in it keeps it.
    if (old.contains(document.activeElement)) continue;
    const now = page.getElementById(old.id);
    if (now) old.replaceWith(document.importNode(now, true));
  }
  const asOf = page.getElementById("as-of").textContent;
  for (const time of document.querySelectorAll("#as-of, .as-of")) time.textContent = asOf;
  tell("");
  return live().length > 0;
}

async function follow() {
  let goesOn = true;
  if (!document.hidden) {
    // What cannot be reached now may be there again in a while.
    try { goesOn = await refresh(); } catch { tell("away"); }
  }
  if (goesOn) setTimeout(follow, pauseMs());
}

if (live().length > 0) setTimeout(follow, pauseMs());
