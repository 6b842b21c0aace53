// The chat's page: where it stands (cursor), what it has shown (ack), reading position, composer.
// The server renders everything; htmx's ws extension swaps it in.

import { copyButtons } from "./chat-copy.js";
import { composer } from "./chat-composer.js";
import { reading } from "./chat-reading.js";

const ACK_EVERY = 500; // milliseconds
const LONGEST_DELAY = 5000;
const COMES_BACK = [4408, 4500]; // too slow, failed: not among the codes after which htmx reconnects
const SIGNED_OUT = 4401;
const GONE = 4404;
const ASLEEP = 4410; // nothing happened for hours
const CROWDED = 4429; // too many pages are open

const thread = document.querySelector(".thread");
const box = composer(document.getElementById("composer"));

if (thread.hasAttribute("ws-connect")) {
  socket(reading(document.getElementById("log"), document.getElementById("below")));
  copyButtons(thread);
}

function socket(scroll) {
  let wrapper = null;
  let seq = null; // of the answer being written, as far as the page shows it
  let acknowledged = 0;
  let timer = 0;

  window.htmx.config.wsReconnectDelay = (tries) => Math.random() * Math.min(1000 * 2 ** tries, LONGEST_DELAY);

  const say = (message) => wrapper.send(JSON.stringify(message));
  const begin = () => {
    seq = null;
    say({ type: "cursor", newest: document.getElementById("cursor").value });
  };

  thread.addEventListener("htmx:wsOpen", (event) => {
    wrapper = event.detail.socketWrapper;
    acknowledged = 0;
    tell("");
    begin();
  });

  thread.addEventListener("htmx:wsBeforeMessage", () => scroll.before());

  thread.addEventListener("htmx:wsAfterMessage", () => {
    const cursor = document.getElementById("cursor").dataset;
    if (cursor.before && seq !== null && cursor.before !== seq && cursor.seq !== seq) {
      begin(); // something is missing between what is shown and what came
    } else {
      seq = cursor.seq;
    }
    copyButtons(thread);
    scroll.after();
    box.answered();
    timer ||= setTimeout(acknowledge, ACK_EVERY);
  });

  function acknowledge() {
    timer = 0;
    const frame = Number(document.getElementById("frame").value);
    if (frame !== acknowledged) {
      acknowledged = frame;
      say({ type: "ack", frame });
    }
  }

  thread.addEventListener("htmx:wsConfigSend", (event) => {
    event.detail.headers = false;
    delete event.detail.parameters.csrfmiddlewaretoken;
    const nothing = event.target === box.form && !box.text();
    if (nothing) {
      event.preventDefault();
    }
  });

  thread.addEventListener("htmx:wsAfterSend", (event) => {
    if (event.target === box.form) {
      box.sent();
      scroll.follow();
    }
  });

  thread.addEventListener("htmx:wsClose", (event) => {
    const { code } = event.detail.event;
    if (code === SIGNED_OUT) {
      tell(thread.dataset.signedOut);
    } else if (code === GONE) {
      tell(thread.dataset.gone);
    } else if (code === CROWDED) {
      tell(thread.dataset.crowded);
    } else if (code === ASLEEP) {
      whenLookedAt(event.detail.socketWrapper.reconnect);
    } else {
      tell(thread.dataset.away);
      if (COMES_BACK.includes(code)) {
        setTimeout(event.detail.socketWrapper.reconnect, Math.random() * LONGEST_DELAY);
      }
    }
  });

  document.addEventListener("keydown", (event) => {
    const stop = document.getElementById("stop");
    if (event.key === "Escape" && stop && !document.querySelector("details.menu[open]")) {
      stop.form.requestSubmit();
    }
  });
}

function whenLookedAt(work) {
  if (!document.hidden) {
    work();
  } else {
    document.addEventListener("visibilitychange", work, { once: true });
  }
}

function tell(words) {
  const place = document.getElementById("connection");
  place.textContent = words;
  place.hidden = !words;
}
