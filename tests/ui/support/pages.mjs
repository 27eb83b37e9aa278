// Every page of the UI.
//
//   path    returns the path after `#`, given the result of `seed()`
//   query   the query after the path
//   nav     the page's label in the navigation
//   isTab   the page is a tab of the page before it, and has the same title
//   empty   the page has an empty state on an empty gateway

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

// Pages in the navigation. They also exist on an empty gateway.
export const navigation = pages.filter((page) => page.nav);
