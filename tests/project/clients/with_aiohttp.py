import asyncio
import os
import aiohttp


async def main():
    url = os.environ["CALL"]
    headers = {"Authorization": "Bearer " + os.environ["TOKEN"]}
    async with aiohttp.ClientSession(headers=headers) as client:
        await (await client.get(url)).read()
        async with client.get(url) as response:
            print(response.headers["Cache-Status"])
        async with client.get(url, params={"fields": "id,status"}) as response:
            print(await response.text())
        async with client.get(url, params={"fields": "("}) as response:
            print(await response.text(), response.status)


asyncio.run(main())
