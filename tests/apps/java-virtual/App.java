import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.HttpURLConnection;
import java.net.InetSocketAddress;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.Semaphore;
import java.util.concurrent.ThreadLocalRandom;

/**
 * Application model: the JDK's HttpServer and HttpURLConnection on virtual threads, as JEP 444 shows it.
 *
 * <p>A virtual thread per request reads it, makes its calls with code that blocks, and answers it. Each of the two calls at
 * the same time has a virtual thread of its own. The connections of each backend are limited by a semaphore.
 */
public final class App {
    /** Connections that may wait to be accepted. */
    private static final int BACKLOG = 1024;

    /** Instead of no limit. */
    private static final int UNLIMITED = 10_000;

    private final Backend first;
    private final Backend second;
    private final String pass;
    private final ExecutorService threads;

    private App(Backend first, Backend second, String pass, ExecutorService threads) {
        this.first = first;
        this.second = second;
        this.pass = pass;
        this.threads = threads;
    }

    public static void main(String[] arguments) throws Exception {
        int pool = Integer.parseInt(option(arguments, "--pool"));
        int connections = pool == 0 ? UNLIMITED : pool;
        // Idle connections that are kept per host, and for how many seconds: 5 and 5 unless told otherwise.
        System.setProperty("http.maxConnections", String.valueOf(connections));
        System.setProperty("http.keepAlive.time.server", "600");
        // Heads and bodies are written apart; without this an answer waits for the acknowledgement of its head.
        System.setProperty("sun.net.httpserver.nodelay", "true");
        System.setProperty("sun.net.httpserver.maxIdleConnections", String.valueOf(BACKLOG));
        // By name, so that the compilers of older JDKs will do.
        var threads = (ExecutorService) Executors.class.getMethod("newVirtualThreadPerTaskExecutor").invoke(null);
        var app = new App(
                new Backend(option(arguments, "--first"), connections),
                new Backend(option(arguments, "--second"), connections),
                option(arguments, "--pass"),
                threads);
        String[] listen = option(arguments, "--listen").split(":");
        var server = HttpServer.create(new InetSocketAddress(listen[0], Integer.parseInt(listen[1])), BACKLOG);
        server.setExecutor(threads);
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
        first.get("/a/" + token, pass, passed);
        compute();
        second.get("/b/" + token, pass, passed);
        List<Callable<Void>> pair =
                List.of(() -> first.get("/c/" + token, pass, passed), () -> second.get("/d/" + token, pass, passed));
        for (Future<Void> call : threads.invokeAll(pair)) {
            call.get();
        }
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

    /** A backend, and the connections that it may have. */
    private static final class Backend {
        private final String base;
        private final Semaphore connections;

        Backend(String address, int connections) {
            this.base = "http://" + address;
            this.connections = new Semaphore(connections, true);
        }

        Void get(String path, String header, String value) throws Exception {
            connections.acquire();
            try {
                var connection = (HttpURLConnection) URI.create(base + path).toURL().openConnection();
                if (value != null) {
                    connection.setRequestProperty(header, value);
                }
                int status = connection.getResponseCode();
                if (status != 200) {
                    throw new IOException(base + path + " was answered with " + status);
                }
                // Read to its end, the connection is kept for the next call.
                try (var body = connection.getInputStream()) {
                    body.readAllBytes();
                }
                return null;
            } finally {
                connections.release();
            }
        }
    }
}
