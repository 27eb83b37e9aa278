// Applies the stored theme before the first paint. It is a classic script, since a module would run after the first
// paint.
try {
  const chosen = localStorage.getItem("tollgate.theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch {
  // Storage is disabled, so there is no stored theme.
}
