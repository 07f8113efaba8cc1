import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;
import java.nio.file.Path;

/** Java's own client with default settings, which offers HTTP/2: Fetch ADDRESS KEY FILE; FILE is an npz archive. */
public final class Fetch {
  public static void main(String[] arguments) throws Exception {
    HttpClient client = HttpClient.newHttpClient();
    String rows = "{\"inputs\": {\"animal\": [\"owl\", \"cat\"]}}";
    HttpRequest.BodyPublisher[] bodies = {
      BodyPublishers.ofString(rows), // with its length
      BodyPublishers.ofInputStream(() -> new java.io.ByteArrayInputStream(rows.getBytes())), // in chunks
      BodyPublishers.ofFile(Path.of(arguments[2])),
    };
    String[] media = {"application/json", "application/json", "application/x-npz"};
    for (int sent = 0; sent < bodies.length; sent++) {
      HttpRequest request = HttpRequest.newBuilder(URI.create(arguments[0] + "/models/kinds/encode"))
          .header("Authorization", "Bearer " + arguments[1])
          .header("Content-Type", media[sent])
          .expectContinue(sent == 2)
          .POST(bodies[sent])
          .build();
      var response = client.send(request, BodyHandlers.ofString());
      if (response.statusCode() != 200) throw new AssertionError(response.body());
      System.out.println(response.body());
    }
    HttpRequest wrong = HttpRequest.newBuilder(URI.create(arguments[0] + "/models/nothing"))
        .header("Authorization", "Bearer " + arguments[1]).build();
    var refused = client.send(wrong, BodyHandlers.ofString());
    if (refused.statusCode() != 404 || !refused.body().contains("no model 'nothing' is loaded"))
      throw new AssertionError(refused.body());
  }
}
