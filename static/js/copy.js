// Copy buttons: <button data-copy="#id"> copies the text of that element.
const announcement = document.createElement("p");
announcement.className = "vh";
announcement.setAttribute("role", "status");
document.body.append(announcement);

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
