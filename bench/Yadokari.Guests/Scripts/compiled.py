# Prints what a just-in-time compiler must not change.
import hashlib, math, re, threading, zlib, json, struct
def fib(n): return n if n < 2 else fib(n - 1) + fib(n - 2)
print("fib", fib(27))
x, s = 0.5, 0.0
for i in range(1, 2000000):
    x = 3.7 * x * (1 - x); s += math.sqrt(x) / i
print("floats", repr(s), 2**0.5, 1e308 * 10, -0.0, 5e-324, int(1e22), round(2.5), divmod(-7.5, 2))
print("big", pow(3, 65537, 2**521 - 1) % 10**20, (7**700) // (11**300) % 10**15)
data = bytes((i * i >> 3 ^ i) & 255 for i in range(1000000))
print("hash", hashlib.sha256(data).hexdigest(), hashlib.md5(data).hexdigest(), zlib.crc32(data), zlib.adler32(data), hash((1, 2, 3)))
words = {}
for i in range(500000):
    k = "w%d" % (i * 7919 % 10007); words[k] = words.get(k, 0) + i
print("dict", len(words), sorted(words.items(), key=lambda kv: (-kv[1], kv[0]))[:3])
class A:
    def __init__(self, v): self.v = v
    def f(self): return self.v * 3 + 1
class B(A):
    def f(self): return super().f() ^ 5
print("objects", sum((A if i % 3 else B)(i).f() for i in range(500000)))
lst = sorted((i * 2654435761) & 0xffffffff for i in range(200000))
print("sorted", lst[0], lst[100000], lst[-1])
caught = 0
for i in range(100000):
    try: [1, 2, 3][i % 5]; 1 // (i % 4)
    except (IndexError, ZeroDivisionError): caught += 1
print("caught", caught)
n = [0]; lock = threading.Lock()
def work():
    for i in range(50000):
        with lock: n[0] += 1
ts = [threading.Thread(target=work) for _ in range(4)]
[t.start() for t in ts]; [t.join() for t in ts]
print("threads", n[0])
print("regex", len(re.findall(r"(\w)\w*\1", " ".join(words))), len(json.dumps(words)), struct.pack("<dfiq", 1.1, 2.5, -3, 1 << 40).hex())
def gen(n):
    for i in range(n): yield i * i % 7
print("generators", sum(gen(1000000)))
print("matrix", [sum(a * b for a, b in zip(r, c)) for r in [[i * j % 11 for j in range(50)] for i in range(5)] for c in [[i + j for j in range(50)] for i in range(3)]])
def deep(n): return deep(n + 1) + 1
try: deep(0)
except RecursionError: print("recursion")
