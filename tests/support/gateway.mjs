// A real gateway process on free ports. Its log, one JSON object per line on standard error, says where it listens.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";

export const ADMIN_KEY = "node-tests-operator-key-0123456789";
const BINARY = process.env.TOLLGATE_BIN ?? resolve(import.meta.dirname, "../../target/debug/tollgate");

let unique = 0;

export class Gateway {
  // `settings` become `TOLLGATE_` variables; they are named as config fields: `Gateway.start({ max_body: "1KiB" })`.
  static async start(settings = {}) {
    const gateway = new Gateway();
    gateway.adminKey = settings.admin_key ?? ADMIN_KEY;
    gateway.scratch = await mkdtemp(join(tmpdir(), "tollgate-node-test-"));
    const env = environment({
      listen: "127.0.0.1:0",
      admin_listen: "127.0.0.1:0",
      data_dir: join(gateway.scratch, "data"),
      admin_key: ADMIN_KEY,
      ...settings,
    });
    gateway.process = spawn(BINARY, ["serve"], { env, stdio: ["ignore", "ignore", "pipe"] });
    gateway.ended = once(gateway.process, "exit");
    gateway.log = "";
    const addresses = {};
    await new Promise((listening, failed) => {
      createInterface({ input: gateway.process.stderr })
        .on("line", (line) => {
          gateway.log += `${line}\n`;
          const entry = parse(line);
          const fields = entry?.fields ?? entry;
          if (fields?.message === "listening") addresses[fields.listener] = fields.address;
          if (addresses.inference && addresses.admin) listening();
        })
        .on("close", () => failed(new Error(`the gateway did not start:\n${gateway.log}`)));
      gateway.process.on("error", failed);
    });
    const scheme = (certificate) => (certificate ? "https" : "http");
    gateway.baseURL = `${scheme(settings.tls_cert)}://${addresses.inference}/v1`;
    gateway.adminURL = `${scheme(settings.admin_tls_cert)}://${addresses.admin}`;
    return gateway;
  }

  // Asks the process to stop and expects exit code 0.
  async stop() {
    this.process.kill("SIGTERM");
    const [code] = await this.ended;
    await rm(this.scratch, { recursive: true, force: true });
    if (code !== 0) throw new Error(`exit ${code} after SIGTERM:\n${this.log}`);
  }

  async admin(method, path, body, headers = {}) {
    const answer = await fetch(this.adminURL + path, {
      method,
      headers: { authorization: `Bearer ${this.adminKey}`, ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
    });
    const text = await answer.text();
    if (answer.status !== 200) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return JSON.parse(text);
  }

  // A customer of the model at `baseURL`: `{ slug, key, group }`.
  async customer(baseURL, { limits = {}, targetModel = "mock-model" } = {}) {
    const slug = `mock/model-${++unique}`;
    const target = { provider: "OPENAI_COMPATIBLE", base_url: baseURL, target_model: targetModel };
    await this.admin("POST", "/v1/gateway/endpoints", { slug, targets: [target] });
    const group = await this.admin("POST", "/v1/gateway/groups", {
      metadata: { external_entity_id: `node-${unique}` },
      models: [{ slug, ...limits }],
      hierarchy: {},
    });
    const { api_key: key } = await this.admin("POST", `/v1/gateway/groups/${group.id}/api_keys`, {});
    return { slug, key, group };
  }

  async events(key) {
    const query = new URLSearchParams({ start_time: "2000-01-01T00:00:00Z", limit: "1000", api_keys: key.split(".")[0] });
    return (await this.admin("GET", `/v1/gateway/events?${query}`)).items;
  }

  // Waits for `count` events, for requests whose end a test cannot see.
  async waitEvents(count, key) {
    const limit = Date.now() + 20_000;
    for (;;) {
      const events = await this.events(key);
      if (events.length >= count) return events;
      if (Date.now() > limit) throw new Error(`only ${events.length} events`);
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}

// The machine's environment with these gateway settings and no others.
function environment(settings) {
  const others = Object.entries(process.env).filter(([name]) => !name.startsWith("TOLLGATE_"));
  const ours = Object.entries(settings).map(([name, value]) => [`TOLLGATE_${name.toUpperCase()}`, String(value)]);
  return Object.fromEntries([...others, ...ours]);
}

function parse(line) {
  try {
    return JSON.parse(line);
  } catch {
    return undefined;
  }
}
