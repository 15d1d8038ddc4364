package app;

import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.hc.client5.http.classic.methods.HttpGet;
import org.apache.hc.client5.http.impl.classic.CloseableHttpClient;
import org.apache.hc.client5.http.impl.classic.HttpClients;
import org.apache.hc.client5.http.impl.io.PoolingHttpClientConnectionManagerBuilder;
import org.apache.hc.core5.http.io.entity.EntityUtils;

/**
 * Application model: the JDK's HttpServer with a fixed pool of threads, and Apache HttpClient, which blocks.
 *
 * <p>A thread of the server's pool reads a request, makes its calls and answers it. The two calls at the same time are made
 * by threads of a second pool.
 */
public final class App {
    /** More than requests are ever in flight, so that none waits for a thread. */
    private static final int THREADS = 400;

    /** Connections that may wait to be accepted. */
    private static final int BACKLOG = 1024;

    /** Instead of no limit, which the client does not know. */
    private static final int UNLIMITED = 10_000;

    private final String first;
    private final String second;
    private final String pass;
    private final CloseableHttpClient client;
    private final ExecutorService calls = Executors.newFixedThreadPool(THREADS);

    private App(String first, String second, int pool, String pass) {
        this.first = "http://" + first;
        this.second = "http://" + second;
        this.pass = pass;
        int perHost = pool == 0 ? UNLIMITED : pool;
        var connections = PoolingHttpClientConnectionManagerBuilder.create()
                .setMaxConnPerRoute(perHost)
                .setMaxConnTotal(2 * perHost)
                .build();
        client = HttpClients.custom().setConnectionManager(connections).build();
    }

    public static void main(String[] arguments) throws IOException {
        // Heads and bodies are written apart; without this an answer waits for the acknowledgement of its head.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        System.setProperty("sun.net.httpserver.maxIdleConnections", String.valueOf(BACKLOG));
        var app = new App(
                option(arguments, "--first"),
                option(arguments, "--second"),
                Integer.parseInt(option(arguments, "--pool")),
                option(arguments, "--pass"));
        String[] listen = option(arguments, "--listen").split(":");
        var server = HttpServer.create(new InetSocketAddress(listen[0], Integer.parseInt(listen[1])), BACKLOG);
        server.setExecutor(Executors.newFixedThreadPool(THREADS));
        server.createContext("/work/", app::answer);
        server.start();
        System.out.println("listening");
    }

    private void answer(HttpExchange exchange) throws IOException {
        int status = 200;
        String body = "done\n";
        try {
            work(exchange);
        } catch (Exception error) {
            status = 502;
            body = error + "\n";
        }
        byte[] bytes = body.getBytes(StandardCharsets.UTF_8);
        exchange.sendResponseHeaders(status, bytes.length);
        exchange.getResponseBody().write(bytes);
        exchange.close();
    }

    private void work(HttpExchange exchange) throws Exception {
        String token = exchange.getRequestURI().getPath().substring("/work/".length());
        String passed = pass == null ? null : exchange.getRequestHeaders().getFirst(pass);
        get(first + "/a/" + token, passed);
        compute();
        get(second + "/b/" + token, passed);
        List<Callable<Void>> pair =
                List.of(() -> get(first + "/c/" + token, passed), () -> get(second + "/d/" + token, passed));
        for (Future<Void> call : calls.invokeAll(pair)) {
            call.get();
        }
    }

    private Void get(String url, String passed) throws IOException {
        var request = new HttpGet(url);
        if (passed != null) {
            request.setHeader(pass, passed);
        }
        return client.execute(request, response -> {
            EntityUtils.consume(response.getEntity());
            if (response.getCode() != 200) {
                throw new IOException(url + " was answered with " + response.getCode());
            }
            return null;
        });
    }

    /** Keeps the processor busy for 50 to 100 microseconds. */
    private static void compute() {
        long end = System.nanoTime() + ThreadLocalRandom.current().nextLong(50_000, 100_000);
        while (System.nanoTime() < end) {
            Thread.onSpinWait();
        }
    }

    /** The value of an option, or null. */
    private static String option(String[] arguments, String name) {
        int at = Arrays.asList(arguments).indexOf(name);
        return at < 0 ? null : arguments[at + 1];
    }
}
