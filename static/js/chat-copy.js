// Copy buttons: one on each listing, and the answer's own source.

const DONE_FOR = 2000; // milliseconds

export function copyButtons(thread) {
  for (const listing of thread.querySelectorAll(".prose .code:not(:has(> button))")) {
    listing.append(button(thread, listing));
  }
}

function button(thread, listing) {
  const made = document.createElement("button");
  made.type = "button";
  made.className = "btn quiet small copy";
  made.textContent = thread.dataset.copy;
  made.addEventListener("click", () => copyListing(listing.querySelector("code"), made, thread));
  return made;
}

document.addEventListener("click", async (event) => {
  const link = event.target.closest("[data-copy-source]");
  if (!link) {
    return;
  }
  if (!navigator.clipboard) {
    return; // plain http: the link opens the text instead
  }
  event.preventDefault();
  const answer = await fetch(link.href, { credentials: "same-origin" });
  if (answer.ok) {
    copy(await answer.text(), link, link.closest(".thread"));
  }
});

async function copyListing(code, control, thread) {
  try {
    await copy(code.textContent, control, thread);
  } catch {
    // No permission, or plain http: leave the text selected for the keyboard.
    getSelection().selectAllChildren(code);
  }
}

async function copy(text, control, thread) {
  await navigator.clipboard.writeText(text);
  const status = document.getElementById("status");
  status.textContent = thread.dataset.copied;
  control.classList.add("done");
  setTimeout(() => control.classList.remove("done"), DONE_FOR);
}
