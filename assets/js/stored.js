// Choices that this browser keeps. Without storage, a choice lasts for the visit only.

/** @param {string} name @param {string} value */
export function store(name, value) {
  try {
    localStorage.setItem(`tollgate.${name}`, value);
  } catch {
    // Storage is disabled.
  }
}

/** @param {string} name */
export function stored(name) {
  try {
    return localStorage.getItem(`tollgate.${name}`);
  } catch {
    return null;
  }
}
