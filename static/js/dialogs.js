// <a href="/page/" data-dialog="id"> opens that <dialog> in place. Without script, or without the dialog, the link
// leads to the page. Inside, data-close="dialog" and a press on the backdrop close it.
document.addEventListener("click", (event) => {
  const opener = event.target.closest("[data-dialog]");
  const dialog = opener && document.getElementById(opener.dataset.dialog);
  if (dialog && !event.ctrlKey && !event.metaKey && !event.shiftKey) {
    event.preventDefault();
    opener.closest("details.menu")?.removeAttribute("open");
    dialog.showModal();
    return;
  }
  const closer = event.target.closest('[data-close="dialog"]');
  const open = closer?.closest("dialog") ?? (event.target.matches?.("dialog[open]:modal") ? event.target : null);
  if (open) {
    event.preventDefault();
    open.close();
  }
});
