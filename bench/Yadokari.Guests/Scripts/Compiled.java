// Prints what a just-in-time compiler must not change: arithmetic, hashes, threads, exceptions that are true faults, collected garbage.
import java.math.BigInteger;
import java.security.MessageDigest;
import java.util.*;
import java.util.concurrent.*;
import java.util.concurrent.atomic.*;
import java.util.stream.*;
import java.util.zip.*;

public class Compiled {
    static int fib(int n) { return n < 2 ? n : fib(n - 1) + fib(n - 2); }
    static String hex(byte[] b) { StringBuilder s = new StringBuilder(); for (byte x : b) s.append(String.format("%02x", x)); return s.toString(); }
    interface Shape { double area(); }
    record Circle(double r) implements Shape { public double area() { return Math.PI * r * r; } }
    record Box(double a, double b) implements Shape { public double area() { return a * b; } }
    public static void main(String[] args) throws Exception {
        System.out.println("fib " + fib(32));
        double x = 0.5, s = 0;
        for (int i = 1; i < 5000000; i++) { x = 3.7 * x * (1 - x); s += StrictMath.sqrt(x) / i; }
        System.out.println("floats " + s + " " + StrictMath.sin(1e6) + " " + Math.fma(x, s, 1.0) + " " + (float) s + " " + (long) 1e30 + " " + (int) Double.NaN);
        System.out.println("big " + BigInteger.TWO.pow(3000).mod(BigInteger.valueOf(1000000007)) + " " + new BigInteger("3").modPow(new BigInteger("65537").pow(20), BigInteger.ONE.shiftLeft(521).subtract(BigInteger.ONE)).hashCode());
        byte[] data = new byte[3000000];
        new Random(42).nextBytes(data);
        for (String a : new String[] { "MD5", "SHA-1", "SHA-256", "SHA-512", "SHA3-256" }) System.out.println(a + " " + hex(MessageDigest.getInstance(a).digest(data)));
        CRC32 crc = new CRC32(); crc.update(data); CRC32C c = new CRC32C(); c.update(data); System.out.println("crc " + crc.getValue() + " " + c.getValue());
        Map<Integer, Integer> counts = new HashMap<>();
        for (byte b : data) counts.merge((int) b, 1, Integer::sum);
        System.out.println("counts " + counts.entrySet().stream().sorted(Map.Entry.<Integer, Integer>comparingByValue().thenComparing(Map.Entry.comparingByKey())).limit(5).collect(Collectors.toList()));
        System.out.println("streams " + IntStream.range(0, 1000000).parallel().filter(i -> i % 7 == 3).mapToLong(i -> (long) i * i).sum());
        Shape[] shapes = new Shape[1000];
        for (int i = 0; i < shapes.length; i++) shapes[i] = i % 3 == 0 ? new Circle(i) : new Box(i, i + 1);
        double area = 0;
        for (int r = 0; r < 2000; r++) for (Shape h : shapes) area += h.area();
        System.out.println("virtual " + area);
        AtomicLong total = new AtomicLong(); LongAdder adder = new LongAdder(); int[] plain = new int[1]; Object lock = new Object();
        ExecutorService pool = Executors.newFixedThreadPool(4);
        for (int t = 0; t < 8; t++) pool.submit(() -> { for (int i = 0; i < 100000; i++) { total.incrementAndGet(); adder.increment(); synchronized (lock) { plain[0]++; } } });
        pool.shutdown(); pool.awaitTermination(5, TimeUnit.MINUTES);
        System.out.println("threads " + total.get() + " " + adder.sum() + " " + plain[0]);
        int caught = 0;
        int[] small = new int[3]; String none = args.length > 100 ? "" : null;
        for (int i = 0; i < 20000; i++) { try { small[i & 7] = 1 / (i & 3); } catch (ArrayIndexOutOfBoundsException | ArithmeticException e) { caught++; } try { none.length(); } catch (NullPointerException e) { caught++; } }
        System.out.println("caught " + caught);
        List<byte[]> live = new ArrayList<>();
        long sum = 0;
        for (int i = 0; i < 200000; i++) { byte[] b = new byte[1000 + i % 1000]; b[i % b.length] = (byte) i; if (i % 100 == 0) live.add(b); sum += b[i % b.length]; }
        System.out.println("garbage " + live.size() + " " + sum);
        int deep; try { deep = recurse(0); } catch (StackOverflowError e) { deep = -1; }
        System.out.println("overflow " + (deep == -1));
        int[] a = new int[1000], b = new int[1000];
        for (int i = 0; i < 1000; i++) { a[i] = i * 7919; b[i] = i ^ 0x55; }
        int dot = 0;
        for (int r = 0; r < 5000; r++) for (int i = 0; i < 1000; i++) dot += a[i] * b[i] + r;
        System.out.println("vectors " + dot);
        StringBuilder text = new StringBuilder();
        for (int i = 0; i < 100000; i++) text.append((char) ('a' + i * 31 % 26)).append(i % 10);
        System.out.println("strings " + text.toString().hashCode() + " " + text.toString().toUpperCase().indexOf("Z9") + " " + text.toString().replaceAll("[aeiou]\\d", "").length());
        Deflater d = new Deflater(); d.setInput(text.toString().getBytes()); d.finish(); byte[] out = new byte[300000]; int n = d.deflate(out); Inflater inf = new Inflater(); inf.setInput(out, 0, n); byte[] back = new byte[300000]; System.out.println("zip " + n + " " + Arrays.hashCode(Arrays.copyOf(back, inf.inflate(back))));
    }
    static int recurse(int n) { return recurse(n + 1) + 1; }
}
