// The rows of the limits editor, by their names: "Tokens per day", "Running requests", "EUR per month".

export const ALL_MODELS = "all models";

// The field with the amount of a row.
export const limitBox = (tab, name, slug) => tab.page.getByRole("textbox", { name: `${name} for ${slug}`, exact: true });

// Types the amount of a row, and adds the row if there is none.
export async function typeLimit(tab, name, text, slug) {
  const box = limitBox(tab, name, slug);
  if (!(await box.count())) await addRow(tab, name, slug);
  await box.fill(text);
}

export const typeBudget = (tab, name, text) => typeLimit(tab, name, text, ALL_MODELS);

async function addRow(tab, name, slug) {
  const [measure, ...window] = name === "Running requests" ? [name] : name.split(" ");
  const isBudget = slug === ALL_MODELS;
  const add = tab.page.getByRole("button", { name: isBudget ? "Add a budget" : `Add a limit for ${slug}` });
  await add.click();
  // The new row has the focus.
  const row = tab.page.getByRole("group").filter({ has: tab.page.locator(":focus") });
  if (isBudget) await row.getByRole("textbox", { name: "Currency" }).fill(measure);
  else await row.getByRole("combobox", { name: "Measure" }).selectOption(measure.toLowerCase());
  // A change of the measure has renamed the row, but it still is the last one.
  const last = tab.page.locator(".limit-card").filter({ has: add }).getByRole("group").last();
  if (window.length) await last.getByRole("combobox", { name: "Window" }).selectOption(window.join(" "));
}

// The limits or budgets that the editor shows as in force: "tokens per day 2500 SOURCE" of each, sorted.
export async function shownLimits(tab, slug) {
  const add = tab.page.getByRole("button", { name: slug === ALL_MODELS ? "Add a budget" : `Add a limit for ${slug}` });
  const card = tab.page.locator(".limit-card").filter({ has: add.or(tab.page.getByRole("heading", { name: slug })) });
  const own = await card.getByRole("group").evaluateAll((rows) => rows.map((row) => {
    const [name] = row.getAttribute("aria-label").split(" for ");
    return [name.replace(/^(Tokens|Requests|Running)/, (word) => word.toLowerCase()), row.querySelector("input").value, "this group"];
  }));
  const inherited = await card.getByRole("listitem").evaluateAll((items) => items.map((item) => {
    const [, threshold, name, source] = /^([\d,.]+) (.*?) of (.*?)(?:, shared)?$/.exec(item.firstChild.textContent);
    return [name, threshold, source];
  }));
  return [...own.filter(([, value]) => value), ...inherited]
    .map(([name, threshold, source]) => `${name} ${threshold.replaceAll(",", "")} ${source}`).sort();
}
