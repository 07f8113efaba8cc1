import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import org.openapitools.client.ApiClient;
import org.openapitools.client.ApiException;
import org.openapitools.client.api.KindsApi;
import org.openapitools.client.model.KindsBodyRow;
import org.openapitools.client.model.KindsDocument;
import org.openapitools.client.model.KindsEncoded;
import org.openapitools.client.model.KindsGenerated;
import org.openapitools.client.model.KindsInputs;

/** A client of openapi-generator, java with java.net.http: Ask ADDRESS KEY FILE; FILE is an .npy of one image. */
public final class Ask {
  private static void check(boolean holds, Object shown) {
    if (!holds) throw new AssertionError(shown);
  }

  public static void main(String[] arguments) throws Exception {
    ApiClient client = new ApiClient();
    client.updateBaseUri(arguments[0]);
    client.setRequestInterceptor(request -> request.header("Authorization", "Bearer " + arguments[1]));
    KindsApi api = new KindsApi(client);
    File image = new File(arguments[2]);
    List<String> odd = List.of("sea, \"deep\"", "snow 🦉");
    // The generated form writes text as ISO 8859-1, which has no owl, and must have every list.
    List<String> sent = List.of(odd.get(0), "it's");

    KindsGenerated uploaded = api.kindsGenerate(null, null, null, null, null, null, null, null, List.of("animal"), null,
        20, null, null, List.of(image, image), List.of(), List.of(), List.of(), List.of(), List.of(), List.of(), List.of(),
        List.of(), List.of(), sent);
    check(uploaded.getnData() == 2 && uploaded.getCondMod().equals(List.of("image", "place")), uploaded);
    check(uploaded.getTargets().getAnimal().getProbabilities().get(0).get(0).doubleValue() > 0, uploaded);

    KindsInputs inputs = new KindsInputs().place(Arrays.asList(odd.get(0), odd.get(1), null));
    inputs.body(Arrays.asList(new KindsBodyRow().height(new java.math.BigDecimal(180)), null, new KindsBodyRow()
        .age(new java.math.BigDecimal(3))));
    KindsGenerated rows = api.kindsGenerateJson(new KindsDocument().inputs(inputs), null, null, null, null, null, null,
        null, null, List.of("body", "place"), null, 20, null, null);
    check(rows.getTargets().getBody().getColumns().equals(List.of("height", "mass", "age")), rows);
    check(new HashSet<>(rows.getTargets().getPlace().getRanked().get(0)).containsAll(odd), rows);
    KindsDocument places = new KindsDocument().inputs(new KindsInputs().place(odd));
    KindsEncoded encoded = api.kindsEncodeJson(places, null, null, null, null, null, null, null);

    try {
      api.kindsGenerate(List.of("sound"), null, null, null, null, null, null, null, null, null, null, null, null, List.of(image),
          List.of(), List.of(), List.of(), List.of(), List.of(), List.of(), List.of(), List.of(), List.of(), List.of());
      throw new AssertionError("a condition that was not sent was accepted");
    } catch (ApiException error) {
      check(error.getCode() == 422 && error.getResponseBody().contains("cond_mod names 'sound'"), error);
    }
    System.out.println(new ObjectMapper().writeValueAsString(encoded.getMu()));
  }
}
