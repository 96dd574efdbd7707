import axios from "axios";

const { CALL, TOKEN } = process.env;
const client = axios.create({
  headers: { Authorization: `Bearer ${TOKEN}` },
  validateStatus: () => true,
});
await client.get(CALL);
console.log((await client.get(CALL)).headers["cache-status"]);
console.log(JSON.stringify((await client.get(CALL, { params: { fields: "id,status" } })).data));
const error = await client.get(CALL, { params: { fields: "(" } });
console.log(JSON.stringify(error.data), error.status);
