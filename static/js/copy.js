// Copy buttons: <button hidden data-copy="#id"> copies the text of that element. Hidden until a script can serve them.
const announcement = document.createElement("p");
announcement.className = "vh";
announcement.setAttribute("role", "status");
document.body.append(announcement);

export function reveal(root) {
  for (const button of root.querySelectorAll("[data-copy][hidden]")) button.hidden = false;
}

async function copy(button) {
  const source = document.querySelector(button.dataset.copy);
  if (!source) return;
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    // No permission, or plain http: leave the text selected for the keyboard.
    getSelection().selectAllChildren(source);
    return;
  }
  const label = button.querySelector("[data-copy-label]");
  if (!label || !button.dataset.copied) return;
  button.dataset.before ??= label.textContent;
  label.textContent = announcement.textContent = button.dataset.copied;
  clearTimeout(button.copyTimer);
  button.copyTimer = setTimeout(() => {
    label.textContent = button.dataset.before;
    announcement.textContent = "";
  }, 2000);
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
document.addEventListener("htmx:load", (event) => reveal(event.detail.elt.parentElement ?? event.detail.elt));
reveal(document);
