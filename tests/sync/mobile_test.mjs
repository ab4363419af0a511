// Runs docs/clients/mobile.ts (its types taken out by the Python test) against a gateway: node mobile_test.mjs MODULE URL
import assert from "node:assert/strict";

const [module, url] = process.argv.slice(2);
const { openSync } = await import(module);

const storage = (stored = null) => ({
  stored,
  async load() { return structuredClone(this.stored); },
  async save(state) { this.stored = structuredClone(state); },
});
const network = { requests: [], lose: 0, tokens: [] };
const lossy = async (...args) => {
  const response = await fetch(...args);
  network.requests.push(args[1]?.body ? JSON.parse(args[1].body) : {});
  if (network.lose > 0) { network.lose -= 1; throw new TypeError("the answer is lost"); }
  return response;
};
const results = [];
const options = (store, more = {}) => ({
  url, storage: store, schema: 1, collections: { notes: {} }, fetch: lossy, limit: 20,
  headers: async () => ({ "x-user": "u1" }),
  preview: (mutation, items) => {
    const note = items.notes?.[mutation.args.note_id];
    if (mutation.op === "note.append" && note && !note.text.endsWith(mutation.args.text.text)) note.text += mutation.args.text.text;
  },
  onResult: (result) => results.push(result),
  ...more,
});
const text = (client, id) => client.items("notes").find((each) => each.id === id)?.text;

// A first sync, in pages.
const disk = storage();
let client = await openSync(options(disk));
await client.sync();
assert.equal(client.items("notes").length, 50);
assert.equal(network.requests.length, 3);

// Offline: the app shows what will be; a killed app has it still.
await client.mutate("note.append", { note_id: "n1", text: { text: "!" } }, client.items("notes").find((each) => each.id === "n1"));
assert.equal(text(client, "n1"), "text 1!");
client = await openSync(options(disk));
assert.equal(text(client, "n1"), "text 1!");
assert.equal(client.waiting(), 1);

// The answer is lost three times: the mutation is done once.
network.lose = 3;
for (let n = 0; n < 3; n += 1) await assert.rejects(client.sync());
await client.sync();
assert.equal(client.waiting(), 0);
assert.deepEqual(results.map((each) => each.status), ["applied"]);
assert.equal(text(client, "n1"), "text 1!");
assert.deepEqual(disk.stored.sent, []);

// A conflict, and a rejection, are told; what comes after them is done.
const seen = { ...client.items("notes").find((each) => each.id === "n2"), _v: "AAAAAAAAAAA" };
await client.mutate("note.append", { note_id: "n2", text: { text: "?" } }, seen);
await client.mutate("note.append", { note_id: "n2", text: { text: "forbidden" } });
await client.mutate("note.append", { note_id: "n2", text: { text: "." } });
await client.sync();
assert.deepEqual(results.slice(1).map((each) => each.status), ["conflict", "rejected", "applied"]);
assert.equal(results[1].item.text, "text 2");
assert.equal(text(client, "n2"), "text 2.");

// A lost token: what is there is told, and little comes.
disk.stored.token = null;
client = await openSync(options(disk));
await client.sync();
assert.equal(Object.keys(network.requests.at(-1).have.notes).length, 50);

// A new layout: all comes again, the outbox stays.
await client.mutate("note.append", { note_id: "n3", text: { text: ";" } });
client = await openSync(options(disk, { schema: 2 }));
assert.equal(client.items("notes").length, 0);
await client.sync();
assert.equal(client.items("notes").length, 50);
assert.equal(text(client, "n3"), "text 3;");

// A phone restored from the same backup: it takes another name, and loses nothing.
const clone = await openSync(options(storage(structuredClone(disk.stored))));
await client.mutate("note.append", { note_id: "n4", text: { text: "a" } });
await clone.mutate("note.append", { note_id: "n4", text: { text: "b" } });
await client.sync();
await clone.sync();
assert.equal(clone.waiting(), 0);
assert.equal(text(clone, "n4"), "text 4ab");

// More than fit into one request.
for (let n = 0; n < 120; n += 1) await client.mutate("note.append", { note_id: "n5", text: { text: String(n % 10) } });
await client.sync();
assert.equal(client.waiting(), 0);
assert.equal(text(client, "n5"), "text 5" + "0123456789".repeat(12));

// A mutation that no request can carry: it alone is given up, and what is behind it is done.
results.length = 0;
await client.mutate("note.append", { note_id: "n7", text: { text: "1" } });
await client.mutate("note.append", { note_id: "n7", text: { text: "x".repeat(2_000_000) } });
await client.mutate("note.append", { note_id: "n7", text: { text: "3" } });
await client.sync();
assert.deepEqual(results.map((each) => each.status), ["applied", "rejected", "applied"]);
assert.equal(results[1].problem.status, 413);
assert.equal(text(client, "n7"), "text 713");
assert.equal(disk.stored.outbox.length, 0);

// A gateway that refuses everything, whatever it is: nothing is given up.
const picky = await openSync(options(storage(structuredClone(disk.stored)), {
  fetch: async () => new Response("{}", { status: 422 }),
}));
await picky.mutate("note.append", { note_id: "n7", text: { text: "4" } });
await assert.rejects(picky.sync(), /422/);
assert.equal(picky.waiting(), 1);

// More than can be told of: all comes again.
disk.stored.token = null;
for (let n = 0; n < 1500; n += 1) disk.stored.items.notes[`old${n}`] = { id: `old${n}`, _v: "AAAAAAAAAAA" };
client = await openSync(options(disk, { schema: 2 }));
await client.sync();
assert.equal(client.items("notes").length, 50);

// An app that is too old: its outbox is taken all the same, it is told, and told when that is over. It does not listen.
const updates = [];
const old = (app) => options(disk, { schema: 2, app, onUpdate: (update) => updates.push(update) });
client = await openSync(old("ios/2.9"));
await client.mutate("note.append", { note_id: "n8", text: { text: "!" } });
const off = new AbortController();
const stopped = client.run(off.signal);
await new Promise((done) => setTimeout(done, 50));
while (client.waiting() > 0) await new Promise((done) => setTimeout(done, 20));
off.abort();
await stopped;
assert.equal(text(client, "n8"), "text 8!");
assert.deepEqual(updates, ["required"]);
client = await openSync(old("ios/3.1"));
await client.sync();
client = await openSync(old("ios/3.4.1"));
await client.sync();
assert.deepEqual(updates, ["required", "available"]);

// The loop: a write of another device arrives by a poke, one's own at once.
const stop = new AbortController();
const running = client.run(stop.signal);
const until = async (condition) => { while (!condition()) await new Promise((done) => setTimeout(done, 20)); };
await until(() => network.requests.some((each) => each.client === undefined));
await clone.mutate("note.append", { note_id: "n6", text: { text: "clone" } });
await clone.sync();
await until(() => text(client, "n6") === "text 6clone");
stop.abort();
await running;
console.log(JSON.stringify(Object.fromEntries(client.items("notes").map((each) => [each.id, each.text]))));
process.exit(0);
