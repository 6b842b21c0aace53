// A form with data-autosubmit goes off when a choice in it changes; its button is for those without script.
for (const form of document.querySelectorAll("form[data-autosubmit]")) {
  form.querySelector("[data-apply]")?.setAttribute("hidden", "");
  form.addEventListener("change", () => form.requestSubmit());
}
