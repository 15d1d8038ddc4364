package bench;

import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.http.MediaType;
import org.springframework.web.bind.annotation.GetMapping;
import org.springframework.web.bind.annotation.RestController;

/** The application whose tracing is compared: answers with a small JSON document. */
@SpringBootApplication
@RestController
public class Peer {
    public static void main(String[] arguments) {
        SpringApplication.run(Peer.class, arguments);
    }

    /** Written as text, so that the answer has a length and is not sent in chunks. */
    @GetMapping(path = "/items", produces = MediaType.APPLICATION_JSON_VALUE)
    String item() {
        return "{\"id\":7,\"name\":\"lamp\"}";
    }
}
