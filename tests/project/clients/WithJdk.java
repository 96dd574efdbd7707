import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;

/** The JDK's client. It offers an upgrade to HTTP/2 on every request. */
class WithJdk {
    static final HttpClient CLIENT = HttpClient.newHttpClient();

    static HttpResponse<String> get(String url) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(url))
                .header("Authorization", "Bearer " + System.getenv("TOKEN"))
                .build();
        return CLIENT.send(request, HttpResponse.BodyHandlers.ofString());
    }

    public static void main(String[] arguments) throws Exception {
        var url = System.getenv("CALL");
        get(url);
        System.out.println(get(url).headers().firstValue("cache-status").orElse("none"));
        System.out.println(get(url + "?fields=id,status").body());
        var error = get(url + "?fields=(");
        System.out.println(error.body() + " " + error.statusCode());
    }
}
