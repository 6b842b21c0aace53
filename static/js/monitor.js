// The live monitor: says that a frame has come, so that the next may, and holds still when asked to or not looked at.
// The server renders every cell; htmx's ws extension swaps those that changed.

const LONGEST_DELAY = 5000;
const COMES_BACK = [4408, 4500]; // too slow, failed: not among the codes after which htmx reconnects
const OVER = [4400, 4401, 4404]; // signed out, or no operator any more
const CROWDED = 4429;

const page = document.getElementById("monitor");
const button = document.getElementById("hold");
const place = document.getElementById("connection");
let wrapper = null;

window.htmx.config.wsReconnectDelay = (tries) => Math.random() * Math.min(1000 * 2 ** tries, LONGEST_DELAY);

const say = (type) => wrapper?.send(JSON.stringify({ type }));
const held = () => "held" in button.dataset || document.hidden;

page.addEventListener("htmx:wsOpen", (event) => {
  wrapper = event.detail.socketWrapper;
  tell("");
  if (held()) {
    say("hold");
  }
});

page.addEventListener("htmx:wsBeforeMessage", (event) => {
  if (held()) {
    event.preventDefault(); // it was on its way when the button was pressed
  }
});

page.addEventListener("htmx:wsAfterMessage", () => say("ack"));

// What somebody has selected to copy stays as it is until they let go of it.
page.addEventListener("htmx:oobBeforeSwap", (event) => {
  const selection = document.getSelection();
  if (!selection.isCollapsed && selection.containsNode(event.target, true)) {
    event.detail.shouldSwap = false;
  }
});

page.addEventListener("htmx:wsClose", (event) => {
  const { code } = event.detail.event;
  if (OVER.includes(code)) {
    tell(page.dataset.signedOut);
  } else if (code === CROWDED) {
    tell(page.dataset.crowded);
  } else {
    tell(page.dataset.away);
    if (COMES_BACK.includes(code)) {
      setTimeout(event.detail.socketWrapper.reconnect, Math.random() * LONGEST_DELAY);
    }
  }
});

button.addEventListener("click", () => {
  const words = button.textContent;
  button.textContent = button.dataset.go;
  button.dataset.go = words;
  button.toggleAttribute("data-held");
  say(held() ? "hold" : "go");
});

document.addEventListener("visibilitychange", () => say(held() ? "hold" : "go"));

function tell(words) {
  place.textContent = words;
  place.hidden = !words;
}
