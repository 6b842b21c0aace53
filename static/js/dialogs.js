// A link with hx-get and hx-target="#dialog" shows a part of its page in the <dialog> of this one. Without script it
// leads to the page itself. Inside, data-close="dialog" and a press on the backdrop close it.
document.addEventListener("htmx:afterSwap", (event) => {
  const dialog = event.detail.target;
  if (!(dialog instanceof HTMLDialogElement) || dialog.open) return;
  for (const menu of document.querySelectorAll("details.menu[open]")) menu.open = false;
  dialog.showModal();
});

document.addEventListener("click", (event) => {
  const dialog = event.target.closest("dialog:modal");
  const closes = event.target === dialog || event.target.closest('[data-close="dialog"]');
  if (!dialog || !closes) return;
  event.preventDefault();
  dialog.close();
});
