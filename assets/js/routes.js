// Every page, with its address, its label in the navigation and the permission that it needs.

/** @import { Route } from "./router.js" */
/** @import { Scope } from "./session.js" */

/** @type {Route[]} */
export const routes = [
  { path: "/", section: "overview", scope: "metrics", load: () => import("./pages/overview.js") },
  { path: "/groups", section: "groups", scope: "keys", load: () => import("./pages/groups.js") },
  { path: "/groups/new", section: "groups", scope: "manage", load: () => import("./pages/group_new.js") },
  { path: "/groups/:id", section: "groups", scope: "keys", load: () => import("./pages/group.js") },
  { path: "/groups/:id/:tab", section: "groups", scope: "keys", load: () => import("./pages/group.js") },
  { path: "/endpoints", section: "endpoints", scope: "manage", load: () => import("./pages/endpoints.js") },
  { path: "/endpoints/new", section: "endpoints", scope: "manage", load: () => import("./pages/endpoint.js") },
  { path: "/endpoints/:id", section: "endpoints", scope: "manage", load: () => import("./pages/endpoint.js") },
  { path: "/secrets", section: "secrets", scope: "manage", load: () => import("./pages/secrets.js") },
  { path: "/playground", section: "playground", scope: "manage", load: () => import("./pages/playground.js") },
  { path: "/usage", section: "usage", scope: "metrics", load: () => import("./pages/usage.js") },
  { path: "/events", section: "events", scope: "metrics", load: () => import("./pages/events.js") },
  { path: "/webhooks", section: "webhooks", scope: "manage", load: () => import("./pages/webhooks.js") },
  { path: "/webhooks/:id", section: "webhooks", scope: "manage", load: () => import("./pages/webhook.js") },
  { path: "/audit", section: "audit", scope: "manage", load: () => import("./pages/audit.js") },
  { path: "/settings", section: "settings", scope: "any", load: () => import("./pages/settings.js") },
];

/** @type {{title: string, links: {section: string, path: string, label: string, icon: string, scope: Scope}[]}[]} */
export const navigation = [
  {
    title: "",
    links: [{ section: "overview", path: "/", label: "Overview", icon: "pulse", scope: "metrics" }],
  },
  {
    title: "Customers",
    links: [{ section: "groups", path: "/groups", label: "Groups", icon: "tree", scope: "keys" }],
  },
  {
    title: "Models",
    links: [
      { section: "endpoints", path: "/endpoints", label: "Endpoints", icon: "route", scope: "manage" },
      { section: "secrets", path: "/secrets", label: "Secrets", icon: "lock", scope: "manage" },
      { section: "playground", path: "/playground", label: "Playground", icon: "play", scope: "manage" },
    ],
  },
  {
    title: "Billing",
    links: [
      { section: "usage", path: "/usage", label: "Usage", icon: "chart", scope: "metrics" },
      { section: "events", path: "/events", label: "Events", icon: "list", scope: "metrics" },
      { section: "webhooks", path: "/webhooks", label: "Webhooks", icon: "send", scope: "manage" },
    ],
  },
  {
    title: "Gateway",
    links: [
      { section: "audit", path: "/audit", label: "Audit log", icon: "history", scope: "manage" },
      { section: "settings", path: "/settings", label: "Settings", icon: "settings", scope: "any" },
    ],
  },
];
