// Applies the theme, the stored choice or else the system's, before the first paint. A classic script: a module would
// run after the first paint.
try {
  const chosen = localStorage.getItem("tollgate.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is disabled: there is no stored choice.
}
