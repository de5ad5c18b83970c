// Drives the JavaScript SDK against an endpoint: node js_sdk.cjs URL ID UNKNOWN. Prints what each call gave, as JSON.
const sdk = require("@aws-sdk/client-apigatewaymanagementapi");

const [url, id, unknown] = process.argv.slice(2);
const credentials = { accessKeyId: process.env.KEY, secretAccessKey: process.env.SECRET };
const client = (more) => new sdk.ApiGatewayManagementApiClient({ endpoint: url, region: "us-east-1", credentials, ...more });

async function outcome(command, on = client()) {
  try {
    const { $metadata, ...shown } = await on.send(command);
    return { status: $metadata.httpStatusCode, request: $metadata.requestId, attempts: $metadata.attempts, ...shown };
  } catch (error) {
    const modelled = Object.keys(sdk).filter((name) => /(?<!Service)Exception$/.test(name));
    const known = modelled.find((name) => error instanceof sdk[name]);
    return { name: error.name, known, message: error.message, status: error.$metadata?.httpStatusCode };
  }
}

const post = (data, connection = id) => new sdk.PostToConnectionCommand({ ConnectionId: connection, Data: data });
const show = (connection) => new sdk.GetConnectionCommand({ ConnectionId: connection });
const close = (connection) => new sdk.DeleteConnectionCommand({ ConnectionId: connection });

async function main() {
  const wrong = client({ credentials: { ...credentials, secretAccessKey: "wrong" } });
  const seen = {
    text: await outcome(post("héllo")),
    bytes: await outcome(post(Buffer.from([255, 0]))),
    empty: await outcome(post("")),
    most: await outcome(post(Buffer.alloc(131072, "x"))),
    tooMuch: await outcome(post(Buffer.alloc(131073, "x"))),
    shown: await outcome(show(id)),
    gone: await outcome(show(unknown)),
    malformed: await outcome(post("x", "not-an-id")),
    forged: await outcome(post("x"), wrong),
    deleted: await outcome(close(id)),
    goneThen: await outcome(post("x")),
  };
  console.log(JSON.stringify(seen));
}

main();
