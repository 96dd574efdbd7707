import os
import httpx

url = os.environ["CALL"]
client = httpx.Client(headers={"Authorization": "Bearer " + os.environ["TOKEN"]})
client.get(url)
print(client.get(url).headers["cache-status"])
print(client.get(url, params={"fields": "id,status"}).text)
error = client.get(url, params={"fields": "("})
print(error.text, error.status_code)
