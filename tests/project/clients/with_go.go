package main

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"os"
)

func get(url string) (*http.Response, string) {
	request, err := http.NewRequest("GET", url, nil)
	if err != nil {
		log.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+os.Getenv("TOKEN"))
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		log.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		log.Fatal(err)
	}
	return response, string(body)
}

func main() {
	url := os.Getenv("CALL")
	get(url)
	response, _ := get(url)
	fmt.Println(response.Header.Get("Cache-Status"))
	_, view := get(url + "?fields=id,status")
	fmt.Println(view)
	response, body := get(url + "?fields=(")
	fmt.Println(body, response.StatusCode)
}
