// Puts each part that has changed in the place of the one it replaces. The page is drawn by the server.
"use strict";
const feed = document.getElementById("feed");
const say = (word, state) => {
  feed.hidden = false;
  feed.textContent = word;
  feed.className = "feed " + state;
};
const source = new EventSource("events");
let silent;
const listen = () => {
  clearTimeout(silent);
  silent = setTimeout(() => say("no news", "lost"), 5000);
};
source.onmessage = (event) => {
  const next = new DOMParser().parseFromString(event.data, "text/html");
  for (const part of next.querySelectorAll("[id]")) {
    const now = document.getElementById(part.id);
    if (now && !now.isEqualNode(part)) now.replaceWith(document.adoptNode(part));
  }
  say("live", "live");
  listen();
};
source.onerror = () => {
  clearTimeout(silent);
  say(source.readyState === EventSource.CLOSED ? "no place: reload" : "disconnected", "lost");
};
