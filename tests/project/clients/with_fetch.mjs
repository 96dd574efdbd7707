const { CALL, TOKEN } = process.env;
const get = (url) => fetch(url, { headers: { authorization: `Bearer ${TOKEN}` } });
await (await get(CALL)).text();
console.log((await get(CALL)).headers.get("cache-status"));
console.log(await (await get(`${CALL}?fields=id,status`)).text());
const error = await get(`${CALL}?fields=(`);
console.log(await error.text(), error.status);
