// The client of Go's standard library: fetch ADDRESS KEY FILE; FILE is an npz archive.
package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

func send(address, key, media string, body io.Reader) (int, string) {
	method := "POST"
	if body == nil {
		method = "GET"
	}
	request, err := http.NewRequest(method, address, body)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	request.Header.Set("Content-Type", media)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		panic(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		panic(err)
	}
	return response.StatusCode, string(content)
}

func main() {
	address, key := os.Args[1], os.Args[2]
	archive, err := os.ReadFile(os.Args[3])
	if err != nil {
		panic(err)
	}
	rows := `{"inputs": {"animal": ["owl", "cat"]}}`
	bodies := []io.Reader{
		strings.NewReader(rows),
		io.MultiReader(strings.NewReader(rows)), // of unknown length: in chunks
		bytes.NewReader(archive),
	}
	for sent, media := range []string{"application/json", "application/json", "application/x-npz"} {
		status, content := send(address+"/models/kinds/encode", key, media, bodies[sent])
		if status != 200 {
			panic(content)
		}
		fmt.Println(content)
	}
	status, content := send(address+"/models/nothing", key, "application/json", nil)
	if status != 404 || !strings.Contains(content, "no model 'nothing' is loaded") {
		panic(content)
	}
}
