// Every page of the UI.
//
//   path    makes what stands behind `#` from what `seed()` made
//   query   what follows that
//   nav     what the navigation calls it
//   isTab   it is a part of the page before it, and has its title
//   empty   it has nothing to show until something is made

export const pages = [
  { name: "overview", path: () => "/", nav: "Overview" },
  { name: "groups", path: () => "/groups", nav: "Groups", empty: true },
  { name: "group-new", path: () => "/groups/new" },
  { name: "group", path: ({ groups }) => `/groups/${groups.shop.id}` },
  { name: "group-limits", isTab: true, path: ({ groups }) => `/groups/${groups.shop.id}/limits` },
  { name: "group-why", isTab: true, path: ({ groups }) => `/groups/${groups.shop.id}/why` },
  { name: "group-keys", isTab: true, path: ({ groups }) => `/groups/${groups.shop.id}/keys` },
  { name: "endpoints", path: () => "/endpoints", nav: "Endpoints", empty: true },
  { name: "endpoint-new", path: () => "/endpoints/new" },
  { name: "endpoint", path: ({ endpoints }) => `/endpoints/${endpoints.coder.id}` },
  { name: "secrets", path: () => "/secrets", nav: "Secrets", empty: true },
  { name: "playground", path: () => "/playground", nav: "Playground", empty: true },
  { name: "usage", path: () => "/usage", nav: "Usage", empty: true },
  { name: "events", path: () => "/events", nav: "Events", empty: true },
  { name: "webhooks", path: () => "/webhooks", nav: "Webhooks", empty: true },
  { name: "webhook", path: ({ webhooks }) => `/webhooks/${webhooks.failing.id}` },
  { name: "audit", path: () => "/audit", nav: "Audit log" },
  { name: "settings", path: () => "/settings", nav: "Settings" },
  { name: "settings-operators", isTab: true, path: () => "/settings", query: "tab=operators" },
  { name: "settings-registration", isTab: true, path: () => "/settings", query: "tab=registration" },
  { name: "settings-backup", isTab: true, path: () => "/settings", query: "tab=backup" },
  { name: "settings-api", isTab: true, path: () => "/settings", query: "tab=api" },
];

// Those that the navigation leads to; they are there without anything made.
export const navigation = pages.filter((page) => page.nav);
