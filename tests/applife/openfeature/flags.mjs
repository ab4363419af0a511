// OpenFeature's own web SDK and OFREP provider against a gateway: node flags.mjs URL. It says "change" when the flags are
// to be changed, and at the end what it saw.
import { OFREPWebProvider } from "@openfeature/ofrep-web-provider";
import { OpenFeature, ProviderEvents } from "@openfeature/web-sdk";

const url = process.argv[2];
const asked = [];
let user = "anna";
const provider = new OFREPWebProvider({
  baseUrl: url,
  pollInterval: 50,
  cacheMode: "disabled",
  headersFactory: () => [["x-user", user], ["App-Version", "ios/2.0.0"]],
  fetchImplementation: async (...args) => {
    const answer = await fetch(...args);
    asked.push({ status: answer.status, update: answer.headers.get("app-update") });
    return answer;
  },
});
const until = async (condition) => { while (!condition()) await new Promise((done) => setTimeout(done, 10)); };
const seen = (client) => ({
  fast: client.getBooleanDetails("fast", false),
  half: client.getStringDetails("half", "?"),
  most: client.getNumberDetails("most", 0),
  none: client.getBooleanDetails("none", true),
});

await OpenFeature.setProviderAndWait(provider, { targetingKey: "mallory", subject: "anna" });
const client = OpenFeature.getClient();
const anna = seen(client);
await until(() => asked.some((each) => each.status === 304));

let changes = [];
client.addHandler(ProviderEvents.ConfigurationChanged, (event) => changes.push(...event.flagsChanged));
console.log("change");
await until(() => changes.length > 0);
const changed = seen(client);

user = "berta";
await OpenFeature.setContext({ targetingKey: "another" });
const berta = seen(client);

await OpenFeature.close();
console.log(JSON.stringify({ anna, changes, changed, berta, asked }));
process.exit(0);
