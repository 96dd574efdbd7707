import os
import requests

url = os.environ["CALL"]
client = requests.Session()
client.headers["Authorization"] = "Bearer " + os.environ["TOKEN"]
client.get(url)
print(client.get(url).headers["Cache-Status"])
print(client.get(url, params={"fields": "id,status"}).text)
error = client.get(url, params={"fields": "("})
print(error.text, error.status_code)
