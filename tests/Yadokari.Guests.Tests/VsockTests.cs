using System.Diagnostics;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;

namespace Yadokari.Guests.Tests;

/// <summary>Programs of the guest's and of the host's talk by sockets, both ways.</summary>
public sealed class VsockTests
{
    // "vsock PORT" serves a port, sending back what comes; "vsock CID PORT" sends its input and writes what comes.
    private const string Program =
        """
        #include <stdio.h>
        #include <stdlib.h>
        #include <poll.h>
        #include <unistd.h>
        #include <sys/socket.h>
        #include <linux/vm_sockets.h>

        static char data[65536];

        static ssize_t copy(int from, int to)
        {
            ssize_t count = read(from, data, sizeof data);
            if (count < 0) { perror("read"); exit(1); }
            if (count == 0) { if (to == 1) exit(0); shutdown(to, SHUT_WR); }
            for (ssize_t at = 0, some; at < count; at += some)
                if ((some = write(to, data + at, count - at)) < 0) { perror("write"); exit(1); }
            return count;
        }

        int main(int count, char **words)
        {
            struct sockaddr_vm address = { .svm_family = AF_VSOCK, .svm_cid = count > 2 ? atoi(words[1]) : VMADDR_CID_ANY, .svm_port = atoi(words[count - 1]) };
            int peer = socket(AF_VSOCK, SOCK_STREAM, 0);
            if (count > 2) {
                if (connect(peer, (void *)&address, sizeof address)) { perror("connect"); return 1; }
                struct pollfd waits[2] = { { .fd = 0, .events = POLLIN }, { .fd = peer, .events = POLLIN } };
                while (poll(waits, 2, -1) > 0) {
                    if (waits[0].revents && copy(0, peer) == 0) waits[0].fd = -1;
                    if (waits[1].revents) copy(peer, 1);
                }
            }
            if (bind(peer, (void *)&address, sizeof address) || listen(peer, 8)) { perror("listen"); return 1; }
            puts("serving"); fflush(stdout);
            for (;;) {
                int one = accept(peer, 0, 0);
                if (fork() == 0) {
                    ssize_t some;
                    while ((some = read(one, data, sizeof data)) > 0)
                        for (ssize_t at = 0, part; at < some; at += part)
                            if ((part = write(one, data + at, some - at)) < 0) _exit(1);
                    _exit(0);
                }
                close(one);
            }
        }
        """;

    [Theory]
    [InlineData(1)]
    [InlineData(3)]
    public async Task Programs_talk(int cpus)
    {
        Assert.SkipWhen(Guest.OnQemu, "The options are yado's.");
        var folder = Directory.CreateTempSubdirectory("yadokari-vsock-").FullName;
        try
        {
            var socket = Path.Combine(folder, "socket");
            var data = RandomNumberGenerator.GetBytes(3_000_000);
            File.WriteAllBytes(Path.Combine(folder, "data"), data);
            File.WriteAllText(Path.Combine(folder, "vsock.c"), Program);
            using (var compiler = Process.Start(Guest.HostProgram("gcc"), ["-O1", "-static", "-o", Path.Combine(folder, "vsock"), Path.Combine(folder, "vsock.c")]))
            {
                compiler.WaitForExit();
                Assert.Equal(0, compiler.ExitCode);
            }

            using var vm = Guest.Start("--vsock", socket + ",cid=42", "--share", folder + ":/work", "--cpus", $"{cpus}");
            vm.Console.WaitFor("# ");

            // The guest's programs reach the host's.
            using (var listener = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified))
            {
                listener.Bind(new UnixDomainSocketEndPoint(socket + "_5000"));
                listener.Listen();
                vm.Console.Send("/work/vsock 2 5000 < /work/data > /work/back; echo rc_$?");
                using var peer = await listener.AcceptAsync(TestContext.Current.CancellationToken);
                Assert.Equal(data, Read(peer, data.Length));
                await peer.SendAsync("an answer"u8.ToArray(), TestContext.Current.CancellationToken);
            }

            vm.Console.WaitFor("rc_0");
            Assert.Equal("an answer", File.ReadAllText(Path.Combine(folder, "back")));
            vm.Console.Send("/work/vsock 2 5001; echo rc_$?_refused");
            vm.Console.WaitFor("rc_1_refused");

            // The host's reach the guest's, several at a time.
            using (var refused = Connect(socket, 1024))
                Assert.Equal([], Read(refused, 1));
            vm.Console.Send("/work/vsock 1024 &");
            vm.Console.WaitFor("serving");
            await Task.WhenAll(Enumerable.Range(0, 4).Select(i => Task.Run(() =>
            {
                using var peer = Connect(socket, 1024);
                Assert.StartsWith("OK ", ReadLine(peer), StringComparison.Ordinal);
                var sent = data[(i * 100_000)..];
                var sending = Task.Run(() =>
                {
                    for (var at = 0; at < sent.Length;)
                        at += peer.Send(sent.AsSpan(at));
                    peer.Shutdown(SocketShutdown.Send);
                });
                Assert.Equal(sent, Read(peer, sent.Length));
                Assert.Equal([], Read(peer, 1));
                sending.Wait();
            })));
            vm.Console.Send("poweroff");
            Assert.Equal(0, vm.Console.WaitForEnd());
            Assert.False(File.Exists(socket));
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }

    private static Socket Connect(string path, int port)
    {
        var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
        socket.Connect(new UnixDomainSocketEndPoint(path));
        socket.Send(Encoding.ASCII.GetBytes($"CONNECT {port}\n"));
        return socket;
    }

    private static string ReadLine(Socket socket)
    {
        var line = new StringBuilder();
        while (Read(socket, 1) is [var one] && one != '\n')
            line.Append((char)one);
        return line.ToString();
    }

    private static byte[] Read(Socket socket, int length)
    {
        var data = new byte[length];
        var at = 0;
        for (int read; at < length && (read = socket.Receive(data.AsSpan(at))) > 0;)
            at += read;
        return data[..at];
    }
}
