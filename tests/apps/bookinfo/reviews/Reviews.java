import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.io.InputStream;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URL;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.Executors;

/** What people say of a book: version v1 says it alone, v2 and v3 ask for the ratings, on the thread of the request. */
public class Reviews {
    private static final String VERSION = System.getenv().getOrDefault("SERVICE_VERSION", "v1");
    private static final String RATINGS = System.getenv().getOrDefault("RATINGS", "ratings:9080");

    public static void main(String[] arguments) throws IOException {
        HttpServer server = HttpServer.create(new InetSocketAddress(9080), 128);
        server.createContext("/reviews/", Reviews::review);
        server.createContext("/health", exchange -> answer(exchange, 200, "{}"));
        server.setExecutor(Executors.newFixedThreadPool(8));
        server.start();
    }

    private static void review(HttpExchange exchange) throws IOException {
        String path = exchange.getRequestURI().getPath();
        String rating = "null";
        if (!VERSION.equals("v1")) {
            try {
                rating = ask("http://" + RATINGS + "/ratings/" + path.substring(path.lastIndexOf('/') + 1));
            } catch (IOException error) {
                answer(exchange, 503, "{\"error\": \"ratings\"}");
                return;
            }
        }
        answer(exchange, 200, "{\"version\": \"" + VERSION + "\", \"text\": \"Extremely funny\", \"rating\": " + rating + "}");
    }

    private static String ask(String url) throws IOException {
        HttpURLConnection connection = (HttpURLConnection) new URL(url).openConnection();
        connection.setConnectTimeout(5_000);
        connection.setReadTimeout(5_000);
        try (InputStream content = connection.getInputStream()) {
            return new String(content.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private static void answer(HttpExchange exchange, int status, String text) throws IOException {
        byte[] body = text.getBytes(StandardCharsets.UTF_8);
        exchange.getResponseHeaders().set("Content-Type", "application/json");
        exchange.sendResponseHeaders(status, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }
}
