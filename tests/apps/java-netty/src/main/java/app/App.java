package app;

import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import org.springframework.boot.Banner;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.boot.context.event.ApplicationReadyEvent;
import org.springframework.context.ApplicationListener;
import org.springframework.context.annotation.Bean;
import org.springframework.http.HttpHeaders;
import org.springframework.http.client.reactive.ReactorClientHttpConnector;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.PathVariable;
import org.springframework.web.bind.annotation.RequestHeader;
import org.springframework.web.bind.annotation.RestController;
import org.springframework.web.reactive.function.client.WebClient;
import reactor.core.publisher.Mono;
import reactor.netty.http.client.HttpClient;
import reactor.netty.resources.ConnectionProvider;

/**
 * Application model: Spring WebFlux and its WebClient, both on Netty and on the same few event loops.
 *
 * <p>No thread belongs to a request. A connection to a backend has the event loop on which it was opened; a request may take
 * one of another loop than its own.
 */
@SpringBootApplication
@RestController
public class App {
    /** Instead of no limit, which the client does not know. */
    private static final int UNLIMITED = 10_000;

    private static String[] arguments;

    private final String first = "http://" + option("--first");
    private final String second = "http://" + option("--second");
    private final String pass = option("--pass");
    private final WebClient client;

    App(WebClient.Builder builder) {
        int pool = Integer.parseInt(option("--pool"));
        var connections = ConnectionProvider.builder("backends")
                .maxConnections(pool == 0 ? UNLIMITED : pool)
                .pendingAcquireMaxCount(-1)
                .build();
        client = builder.clientConnector(new ReactorClientHttpConnector(HttpClient.create(connections))).build();
    }

    public static void main(String[] arguments) {
        App.arguments = arguments;
        String[] listen = option("--listen").split(":");
        var application = new SpringApplication(App.class);
        application.setBannerMode(Banner.Mode.OFF);
        application.setDefaultProperties(
                Map.of("server.address", listen[0], "server.port", listen[1], "logging.level.root", "warn"));
        application.run();
    }

    @Bean
    static ApplicationListener<ApplicationReadyEvent> ready() {
        return event -> System.out.println("listening");
    }

    @GetMapping("/work/{token}")
    Mono<String> work(@PathVariable String token, @RequestHeader HttpHeaders headers) {
        String passed = pass == null ? null : headers.getFirst(pass);
        return get(first + "/a/" + token, passed)
                .doOnSuccess(answer -> compute())
                .then(get(second + "/b/" + token, passed))
                .then(Mono.when(get(first + "/c/" + token, passed), get(second + "/d/" + token, passed)))
                .thenReturn("done\n");
    }

    /** A call, made when it is subscribed to. */
    private Mono<Void> get(String url, String passed) {
        var request = client.get().uri(url);
        if (passed != null) {
            request.header(pass, passed);
        }
        return request.retrieve().bodyToMono(String.class).then();
    }

    /** Keeps the processor busy for 50 to 100 microseconds. */
    private static void compute() {
        long end = System.nanoTime() + ThreadLocalRandom.current().nextLong(50_000, 100_000);
        while (System.nanoTime() < end) {
            Thread.onSpinWait();
        }
    }

    /** The value of an option, or null. */
    private static String option(String name) {
        int at = Arrays.asList(arguments).indexOf(name);
        return at < 0 ? null : arguments[at + 1];
    }
}
