// BouncyCastle: have a file stamped and verify the token, or be refused.
//
//   BouncyCastle.java stamp URL ROOT FILE
//   BouncyCastle.java refused URL FILE POLICY

import java.io.ByteArrayInputStream;
import java.math.BigInteger;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.SecureRandom;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.Date;
import org.bouncycastle.asn1.cms.AttributeTable;
import org.bouncycastle.cert.X509CertificateHolder;
import org.bouncycastle.cms.jcajce.JcaSimpleSignerInfoVerifierBuilder;
import org.bouncycastle.tsp.TSPAlgorithms;
import org.bouncycastle.tsp.TSPValidationException;
import org.bouncycastle.tsp.TimeStampRequest;
import org.bouncycastle.tsp.TimeStampRequestGenerator;
import org.bouncycastle.tsp.TimeStampResponse;
import org.bouncycastle.tsp.TimeStampToken;

public class BouncyCastle {
    public static void main(String[] args) throws Exception {
        switch (args[0]) {
            case "stamp" -> stamp(args[1], args[2], Files.readAllBytes(Path.of(args[3])));
            case "refused" -> refused(args[1], Files.readAllBytes(Path.of(args[2])), args[3]);
            default -> throw new IllegalArgumentException(args[0]);
        }
    }

    static void stamp(String url, String root, byte[] data) throws Exception {
        byte[] digest = MessageDigest.getInstance("SHA-256").digest(data);
        TimeStampRequestGenerator generator = new TimeStampRequestGenerator();
        generator.setCertReq(true);
        // Negative ones are echoed, too.
        BigInteger nonce = new BigInteger(128, new SecureRandom()).negate();
        TimeStampRequest request = generator.generate(TSPAlgorithms.SHA256, digest, nonce);
        TimeStampResponse response = ask(url, request);
        response.validate(request);
        TimeStampToken token = response.getTimeStampToken();
        X509CertificateHolder unit =
                (X509CertificateHolder) token.getCertificates().getMatches(token.getSID())
                        .iterator().next();
        token.validate(new JcaSimpleSignerInfoVerifierBuilder().build(unit));
        CertificateFactory factory = CertificateFactory.getInstance("X.509");
        X509Certificate issuer = (X509Certificate)
                factory.generateCertificate(new ByteArrayInputStream(Files.readAllBytes(Path.of(root))));
        X509Certificate certificate = (X509Certificate)
                factory.generateCertificate(new ByteArrayInputStream(unit.getEncoded()));
        certificate.verify(issuer.getPublicKey());
        Date time = token.getTimeStampInfo().getGenTime();
        certificate.checkValidity(time);
        AttributeTable unsigned = token.getUnsignedAttributes();
        System.out.printf("good: %s at %s, %d unsigned attributes%n",
                token.getTimeStampInfo().getSerialNumber().toString(16), time.toInstant(),
                unsigned == null ? 0 : unsigned.size());

        TimeStampRequest other = generator.generate(TSPAlgorithms.SHA256, digest, BigInteger.ONE);
        try {
            response.validate(other);
            throw new IllegalStateException("good for another nonce, too");
        } catch (TSPValidationException expected) {
            // As it must.
        }
    }

    static void refused(String url, byte[] data, String policy) throws Exception {
        byte[] sha1 = MessageDigest.getInstance("SHA-1").digest(data);
        byte[] sha256 = MessageDigest.getInstance("SHA-256").digest(data);
        show(url, new TimeStampRequestGenerator().generate(TSPAlgorithms.SHA1, sha1));
        TimeStampRequestGenerator generator = new TimeStampRequestGenerator();
        generator.setReqPolicy(policy);
        show(url, generator.generate(TSPAlgorithms.SHA256, sha256));
    }

    static void show(String url, TimeStampRequest request) throws Exception {
        TimeStampResponse response = ask(url, request);
        // Takes a rejection as an answer: it checks what there is.
        response.validate(request);
        System.out.printf("status %d, failure %d: %s%n", response.getStatus(),
                response.getFailInfo().intValue(), response.getStatusString());
        if (response.getTimeStampToken() != null) {
            throw new IllegalStateException("there is a token");
        }
    }

    static TimeStampResponse ask(String url, TimeStampRequest request) throws Exception {
        HttpRequest post = HttpRequest.newBuilder(URI.create(url))
                .header("Content-Type", "application/timestamp-query")
                .POST(HttpRequest.BodyPublishers.ofByteArray(request.getEncoded()))
                .build();
        HttpResponse<byte[]> answer = HttpClient.newHttpClient()
                .send(post, HttpResponse.BodyHandlers.ofByteArray());
        if (answer.statusCode() != 200) {
            throw new IllegalStateException("status " + answer.statusCode());
        }
        return new TimeStampResponse(answer.body());
    }
}
