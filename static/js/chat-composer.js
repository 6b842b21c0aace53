// The composer: Enter asks, Shift+Enter makes a line, a draft survives a reload, a refused question comes back.

export function composer(form) {
  if (!form) {
    return { form, text: () => "", sent() {}, answered() {} };
  }
  const field = form.elements.text;
  const key = `tertulia-draft-${form.dataset.draft}`;
  const problem = form.querySelector("#problem");
  let lastSent = "";

  if (!field.value) {
    field.value = read(key);
  }
  field.addEventListener("input", () => keep(key, field.value));

  field.addEventListener("keydown", (event) => {
    const typing = event.isComposing || event.shiftKey || event.altKey || matchMedia("(pointer: coarse)").matches;
    if (event.key === "Enter" && !typing) {
      event.preventDefault();
      if (field.value.trim()) {
        form.requestSubmit();
      }
    }
  });

  form.addEventListener("change", (event) => {
    if (event.target.name === "model") {
      form.querySelector("[data-chosen]").textContent = event.target.value;
      form.querySelector("details.menu").open = false;
      field.focus();
    }
  });

  if (!form.hasAttribute("ws-send")) {
    form.addEventListener("submit", () => keep(key, ""));
  }

  return {
    form,
    text: () => field.value.trim(),
    /** The question is on its way: empty the box, and let the next question have a name of its own. */
    sent() {
      lastSent = field.value;
      field.value = "";
      keep(key, "");
      problem.replaceChildren();
      form.elements.client_id.value = newId();
    },
    /** Something came: if it is a refusal, the question goes back into the box. */
    answered() {
      if (lastSent && problem.childElementCount && !field.value) {
        field.value = lastSent;
        keep(key, lastSent);
      }
      lastSent = problem.childElementCount ? "" : lastSent;
    },
  };
}

/** A version 4 UUID; crypto.randomUUID is missing where the console is served without TLS. */
function newId() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const hex = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
}

function read(key) {
  try {
    return localStorage.getItem(key) ?? "";
  } catch {
    return ""; // storage is switched off: no drafts
  }
}

function keep(key, value) {
  try {
    if (value) {
      localStorage.setItem(key, value);
    } else {
      localStorage.removeItem(key);
    }
  } catch {
    // storage is switched off: no drafts
  }
}
