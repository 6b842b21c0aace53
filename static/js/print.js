// Buttons that print the page. What of it goes to paper is said in the style sheet.
document.addEventListener("click", (event) => {
  if (event.target.closest("[data-print]")) window.print();
});
