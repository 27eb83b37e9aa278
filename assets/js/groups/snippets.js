// Code samples that call the gateway with a customer's key. Pure.

/** @typedef {{url: string, key: string, model: string}} Call `url` is the gateway's inference address, without `/v1` */

const QUESTION = "Say hello.";

/** Quoted for a shell. @param {string} text */
const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** @param {Call} call */
const curl = ({ url, key, model }) => [
  `curl ${url}/v1/chat/completions \\`,
  `  -H ${quoted(`Authorization: Bearer ${key}`)} \\`,
  "  -H 'Content-Type: application/json' \\",
  `  -d ${quoted(JSON.stringify({ model, messages: [{ role: "user", content: QUESTION }] }))}`,
].join("\n");

/** @param {Call} call */
const python = ({ url, key, model }) => `from openai import OpenAI

client = OpenAI(
    base_url=${JSON.stringify(`${url}/v1`)},
    api_key=${JSON.stringify(key)},
)
answer = client.chat.completions.create(
    model=${JSON.stringify(model)},
    messages=[{"role": "user", "content": "${QUESTION}"}],
)
print(answer.choices[0].message.content)`;

/** @param {Call} call */
const node = ({ url, key, model }) => `import OpenAI from "openai";

const client = new OpenAI({
  baseURL: ${JSON.stringify(`${url}/v1`)},
  apiKey: ${JSON.stringify(key)},
});
const answer = await client.chat.completions.create({
  model: ${JSON.stringify(model)},
  messages: [{ role: "user", content: "${QUESTION}" }],
});
console.log(answer.choices[0].message.content);`;

/** @type {{name: string, label: string, text: (call: Call) => string}[]} */
export const SNIPPETS = [
  { name: "curl", label: "curl", text: curl },
  { name: "python", label: "Python", text: python },
  { name: "node", label: "Node", text: node },
];
