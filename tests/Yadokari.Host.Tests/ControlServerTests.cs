using System.Net;
using System.Net.Sockets;
using System.Text;
using System.Text.Json;
using System.Text.Json.Serialization.Metadata;
using System.Text.RegularExpressions;
using Xunit;
using Yadokari.Host.Control;

namespace Yadokari.Host.Tests;

/// <summary>The monitor's socket, spoken to by .NET's own client and by clients that mean no good.</summary>
public sealed class ControlServerTests : IDisposable
{
    private static readonly TimeSpan s_requestTime = TimeSpan.FromSeconds(1);

    private readonly string _path = Path.Combine(Path.GetTempPath(), $"yadokari-{Guid.NewGuid():n}");
    private readonly ScriptedMonitor _monitor = new();
    private readonly ControlServer _server;
    private readonly HttpClient _client;

    public ControlServerTests()
    {
        _server = ControlServer.Open(_path, s_requestTime);
        _server.Begin(_monitor, ScriptedMonitor.Description);
        _client = new HttpClient(new SocketsHttpHandler
        {
            ConnectCallback = async (_, cancellation) =>
            {
                var socket = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified);
                await socket.ConnectAsync(new UnixDomainSocketEndPoint(_path), cancellation);
                return new NetworkStream(socket, ownsSocket: true);
            },
        })
        { BaseAddress = new Uri("http://localhost"), Timeout = TimeSpan.FromSeconds(30) };
    }

    private static CancellationToken Cancellation => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _client.Dispose();
        _server.Dispose();
    }

    [Fact]
    public async Task Machine_is_described()
    {
        using var machine = JsonDocument.Parse(await _client.GetStringAsync("/machine", Cancellation));
        JsonElement root = machine.RootElement;
        Assert.Equal(("box", "running", 2), (root.GetProperty("name").GetString(), root.GetProperty("state").GetString(), root.GetProperty("vcpus").GetInt32()));
        Assert.Equal((1UL << 29, 1UL << 28), (root.GetProperty("memory").GetUInt64(), root.GetProperty("balloon").GetProperty("current").GetUInt64()));
        Assert.Equal(DateTimeOffset.UnixEpoch, root.GetProperty("started").GetDateTimeOffset());

        _monitor.IsGone = true;
        Assert.DoesNotContain("balloon", await _client.GetStringAsync("/machine", Cancellation), StringComparison.Ordinal);
        using HttpResponseMessage balloon = await _client.GetAsync("/machine/balloon", Cancellation);
        Assert.Equal(HttpStatusCode.Conflict, balloon.StatusCode);
    }

    [Theory]
    [InlineData("/machine/power", """{"action": "press-button"}""", HttpStatusCode.Accepted, "power")]
    [InlineData("/machine/power", """{"action": "off"}""", HttpStatusCode.Accepted, "end 137")]
    [InlineData("/machine/console/size", """{"rows": 33, "columns": 99}""", HttpStatusCode.NoContent, "size 33 99")]
    [InlineData("/machine/balloon", """{"target": 268435456}""", HttpStatusCode.OK, "balloon 268435456")]
    public async Task Request_is_done_and_answered(string path, string body, HttpStatusCode status, string done)
    {
        using var content = new StringContent(body, Encoding.UTF8, "application/json");
        using HttpResponseMessage answer = await _client.PutAsync(path, content, Cancellation);
        Assert.Equal(status, answer.StatusCode);
        Assert.True(SpinWait.SpinUntil(() => _monitor.Done.Length > 0, 5000));
        Assert.Equal([done], _monitor.Done);
    }

    [Theory]
    [InlineData("GET", "/", "", 404, null)]
    [InlineData("GET", "/machine/", "", 404, null)]
    [InlineData("GET", "/machine?x=1", "", 404, null)]
    [InlineData("DELETE", "/machine", "", 405, null)]
    [InlineData("GET", "/machine/power", "", 405, null)]
    [InlineData("GET", "/machine", "{}", 400, null)]
    [InlineData("GET", "/machine/console", "", 426, "Upgrade")]
    [InlineData("PUT", "/machine/power", "", 400, null)]
    [InlineData("PUT", "/machine/power", "{", 400, null)]
    [InlineData("PUT", "/machine/power", "[]", 400, null)]
    [InlineData("PUT", "/machine/power", "null", 400, null)]
    [InlineData("PUT", "/machine/power", "{}", 400, "/action")]
    [InlineData("PUT", "/machine/power", """{"action": "dance"}""", 400, "/action")]
    [InlineData("PUT", "/machine/power", """{"action": null}""", 400, "/action")]
    [InlineData("PUT", "/machine/power", """{"action": 1}""", 400, "/action")]
    [InlineData("PUT", "/machine/power", """{"Action": "off"}""", 400, "/Action")]
    [InlineData("PUT", "/machine/power", """{"action": "off", "a/b~": 1}""", 400, "/a~1b~0")]
    [InlineData("PUT", "/machine/power", """{"action": "off", "action": "off"}""", 400, "/action")]
    [InlineData("PUT", "/machine/power", """{"\ud800": "off"}""", 400, null)]
    [InlineData("PUT", "/machine/power", """{"action": "off"} {}""", 400, null)]
    [InlineData("PUT", "/machine/balloon", """{"target": "16M"}""", 400, "/target")]
    [InlineData("PUT", "/machine/balloon", """{"target": -4096}""", 400, "/target")]
    [InlineData("PUT", "/machine/balloon", """{"target": 1e30}""", 400, "/target")]
    [InlineData("PUT", "/machine/balloon", """{"target": 268435457}""", 400, "/target")]
    [InlineData("PUT", "/machine/balloon", """{"target": 4096}""", 400, "/target")]
    [InlineData("PUT", "/machine/balloon", """{"target": 536875008}""", 400, "/target")]
    [InlineData("PUT", "/machine/console/size", """{"rows": 33}""", 400, "/columns")]
    [InlineData("PUT", "/machine/console/size", """{"rows": 33, "columns": 70000}""", 400, "/columns")]
    public async Task Request_that_can_not_be_is_refused_with_field_problem_and_remedy(string method, string path, string body, int status, string? field)
    {
        using var request = new HttpRequestMessage(new HttpMethod(method), path);
        request.Content = body.Length == 0 ? null : new StringContent(body, Encoding.UTF8, "application/json");
        using HttpResponseMessage answer = await _client.SendAsync(request, Cancellation);
        Assert.Equal(status, (int)answer.StatusCode);
        CheckProblem(await answer.Content.ReadAsStringAsync(Cancellation), status, field);
        Assert.Equal("application/problem+json", answer.Content.Headers.ContentType?.MediaType);
        Assert.Equal(status == 405, answer.Content.Headers.Allow.Count > 0);
        Assert.Empty(_monitor.Done);
    }

    [Theory]
    [InlineData("GET /machine HTTP/1.1\r\n\r\n", 400, "Host")]
    [InlineData("GET /machine HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400, "Host")]
    [InlineData("GET /machine HTTP/1.0\r\nHost: a\r\n\r\n", 505, null)]
    [InlineData("GET /machine\r\nHost: a\r\n\r\n", 400, null)]
    [InlineData("power\n\r\n\r\n", 400, null)]
    [InlineData("GET  /machine HTTP/1.1\r\nHost: a\r\n\r\n", 400, null)]
    [InlineData("GET machine HTTP/1.1\r\nHost: a\r\n\r\n", 400, null)]
    [InlineData("G(T /machine HTTP/1.1\r\nHost: a\r\n\r\n", 400, null)]
    [InlineData("GET /machine HTTP/1.1\r\nHost : a\r\n\r\n", 400, null)]
    [InlineData("GET /machine HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", 400, null)]
    [InlineData("GET /machine HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", 400, null)]
    [InlineData("PUT /machine/power HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411, "Transfer-Encoding")]
    [InlineData("PUT /machine/power HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400, "Content-Length")]
    [InlineData("PUT /machine/power HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n12", 400, "Content-Length")]
    [InlineData("PUT /machine/power HTTP/1.1\r\nHost: a\r\nContent-Length: 16385\r\n\r\n", 413, "Content-Length")]
    [InlineData("PUT /machine/power HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n", 413, "Content-Length")]
    [InlineData("PUT /machine/power HTTP/1.1\r\nHost: a\r\nExpect: the-unexpected\r\nContent-Length: 2\r\n\r\n{}", 417, "Expect")]
    public void Message_that_is_not_well_formed_is_refused(string message, int status, string? field)
    {
        (int answered, string body) = Exchange(message);
        Assert.Equal(status, answered);
        CheckProblem(body, status, field);
        Assert.Empty(_monitor.Done);
    }

    [Fact]
    public void Headers_have_a_limit() => Assert.Equal(431, Exchange("GET /machine HTTP/1.1\r\nX: " + new string('x', 100_000)).Status);

    [Theory]
    [InlineData("GET /machine HTTP/1.1\r\n")]
    [InlineData("PUT /machine/power HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n\r\n{\"action\": \"off\"")]
    public void Message_that_does_not_end_is_not_waited_for(string message)
    {
        // A byte now and then does not make the time longer.
        using Socket client = Connect();
        client.Send(Encoding.ASCII.GetBytes(message));
        bool answered = false;
        for (int i = 0; i < 50 && !answered; i++)
        {
            Thread.Sleep(100); // How often a byte comes.
            answered = client.Poll(0, SelectMode.SelectRead);
            if (!answered && message.StartsWith("GET", StringComparison.Ordinal))
            {
                client.Send("X"u8);
            }
        }

        Assert.StartsWith("HTTP/1.1 408 ", ReadToEnd(client), StringComparison.Ordinal);
        Assert.Empty(_monitor.Done);
    }

    [Fact]
    public void Absolute_form_and_expectations_are_understood()
    {
        Assert.Equal(200, Exchange("GET http://localhost/machine HTTP/1.1\r\nhost: localhost\r\n\r\n").Status);
        using Socket client = Connect();
        client.Send("PUT /machine/power HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 25\r\n\r\n"u8);
        Assert.StartsWith("HTTP/1.1 100 ", Receive(client), StringComparison.Ordinal);
        client.Send("{\"action\":\"press-button\"}"u8);
        Assert.StartsWith("HTTP/1.1 202 ", ReadToEnd(client), StringComparison.Ordinal);
    }

    [Fact]
    public void Head_is_answered_without_a_body()
    {
        using Socket client = Connect();
        client.Send("HEAD /machine HTTP/1.1\r\nHost: a\r\n\r\n"u8);
        string answer = ReadToEnd(client);
        Assert.Matches(@"^HTTP/1\.1 200 OK\r\n(?s:.*)Content-Length: [1-9]", answer);
        Assert.EndsWith("\r\n\r\n", answer, StringComparison.Ordinal);
    }

    [Fact]
    public void Clients_that_only_hold_connections_do_not_lock_others_out_for_long()
    {
        Socket[] idle = [.. Enumerable.Range(0, 100).Select(_ => Connect())];
        Assert.Contains(idle, s => s.Poll(5_000_000, SelectMode.SelectRead) && ReadToEnd(s).StartsWith("HTTP/1.1 503 ", StringComparison.Ordinal));
        Assert.True(SpinWait.SpinUntil(IsAnswered, 10_000));
        Array.ForEach(idle, s => s.Dispose());

        bool IsAnswered()
        {
            try
            {
                return Exchange("GET /machine HTTP/1.1\r\nHost: a\r\n\r\n").Status == 200;
            }
            catch (SocketException)
            {
                return false; // Refused before the request was there.
            }
        }
    }

    [Fact]
    public void Whatever_comes_the_machine_goes_on()
    {
        var random = new Random(16);
        string[] seeds =
        [
            "GET /machine HTTP/1.1\r\nHost: a\r\n\r\n",
            "PUT /machine/balloon HTTP/1.1\r\nHost: a\r\nContent-Length: 21\r\n\r\n{\"target\": 268435456}",
            "PUT /machine/console/size HTTP/1.1\r\nHost: a\r\nContent-Length: 26\r\n\r\n{\"rows\": 24, \"columns\":80}",
        ];
        for (int i = 0; i < 500; i++)
        {
            byte[] message = Encoding.ASCII.GetBytes(seeds[i % seeds.Length]);
            for (int change = random.Next(1, 6); change > 0; change--)
            {
                message[random.Next(message.Length)] = (byte)random.Next(256);
            }

            using Socket client = Connect();
            client.Send(message);
            client.Shutdown(SocketShutdown.Send);
            Assert.StartsWith("HTTP/1.1 ", ReadToEnd(client), StringComparison.Ordinal);
        }

        Assert.DoesNotContain(_monitor.Done, d => d.StartsWith("fail", StringComparison.Ordinal) || d.StartsWith("end", StringComparison.Ordinal));
        Assert.Equal(200, Exchange("GET /machine HTTP/1.1\r\nHost: a\r\n\r\n").Status);
    }

    [Fact]
    public void Socket_is_the_users_alone() => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(_path));

    [Fact]
    public void What_is_typed_waits_for_room_and_all_arrives_in_order()
    {
        _monitor.Room = 100;
        string keys = string.Join(' ', Enumerable.Range(0, 2000));
        using Socket client = Attach(keys[..50]);
        client.Send(Encoding.ASCII.GetBytes(keys[50..]));
        Assert.True(SpinWait.SpinUntil(() => _monitor.Typed == keys[..100], 5000), _monitor.Typed);
        for (int room = 100; room < keys.Length; room += 500)
        {
            Assert.StartsWith(_monitor.Typed, keys, StringComparison.Ordinal);
            _monitor.Room = room + 500;
        }

        Assert.True(SpinWait.SpinUntil(() => _monitor.Typed == keys, 5000), _monitor.Typed);
    }

    [Fact]
    public void Who_watches_sees_what_came_lately_and_what_comes()
    {
        _server.Show("before "u8);
        using Socket client = Attach("");
        var seen = new StringBuilder();
        while (!seen.ToString().EndsWith("before ", StringComparison.Ordinal))
        {
            seen.Append(Receive(client));
        }

        _server.Show("after"u8);
        _server.Dispose();
        string all = seen + ReadToEnd(client);
        Assert.StartsWith("HTTP/1.1 101 Switching Protocols\r\n", all, StringComparison.Ordinal);
        Assert.EndsWith("\r\n\r\nbefore after", all, StringComparison.Ordinal);
        Assert.False(File.Exists(_path));
    }

    [Fact]
    public async Task Clients_of_events_that_closed_make_room()
    {
        List<HttpResponseMessage> streams = [];
        while (await TryGet("/events") is { } stream)
        {
            streams.Add(stream);
        }

        Assert.NotEmpty(streams);
        streams.ForEach(s => s.Dispose());
        using var limit = new CancellationTokenSource(TimeSpan.FromSeconds(10)); // Less than the time after which an unchanged stream is written to.
        HttpResponseMessage? answer;
        while ((answer = await TryGet("/machine")) is null)
        {
            await Task.Delay(50, limit.Token); // Between two attempts.
        }

        answer.Dispose();
    }

    // Null where the server has too many clients: it may close the connection before it has read the request.
    private async Task<HttpResponseMessage?> TryGet(string path)
    {
        try
        {
            HttpResponseMessage answer = await _client.GetAsync(path, HttpCompletionOption.ResponseHeadersRead, Cancellation);
            if (answer.StatusCode == HttpStatusCode.OK)
            {
                return answer;
            }

            answer.Dispose();
        }
        catch (HttpRequestException)
        {
        }

        return null;
    }

    [Fact]
    public async Task Events_come_until_the_last()
    {
        _monitor.Events.Publish(new RunEvent(DateTimeOffset.UnixEpoch, "started"));
        using Stream stream = await _client.GetStreamAsync("/events", Cancellation);
        using var reader = new StreamReader(stream);
        Assert.Equal("event: started", await reader.ReadLineAsync(Cancellation));
        Assert.Equal("""data: {"time":"1970-01-01T00:00:00+00:00","event":"started"}""", await reader.ReadLineAsync(Cancellation));
        _monitor.Events.Publish(new RunEvent(DateTimeOffset.UnixEpoch, "ended", ExitCode: 3));
        _server.Dispose();
        Assert.Equal("""

            event: ended
            data: {"time":"1970-01-01T00:00:00+00:00","event":"ended","exitCode":3}


            """, (await reader.ReadToEndAsync(Cancellation)).ReplaceLineEndings("\n"));
    }

    [Fact]
    public async Task Metrics_are_what_prometheus_reads()
    {
        foreach (int _ in (int[])[1, 2])
        {
            using HttpResponseMessage answer = await _client.GetAsync("/metrics", Cancellation);
            Assert.Equal("text/plain", answer.Content.Headers.ContentType?.MediaType);
            string text = await answer.Content.ReadAsStringAsync(Cancellation);
            Assert.All(text.Split('\n', StringSplitOptions.RemoveEmptyEntries), line => Assert.Matches(
                @"^(# HELP [a-z_]+ .+|# TYPE [a-z_]+ (counter|gauge)|[a-z_]+(\{[a-z]+=""([^""\\\n]|\\[\\""n])*""(,[a-z]+=""([^""\\\n]|\\[\\""n])*"")*\})? [-+0-9.eE]+)$", line));
            Assert.Contains("\nyadokari_machine_memory_bytes 536870912\n", text, StringComparison.Ordinal);
            Assert.Contains("\nyadokari_machine_balloon_current_bytes 268435456\n", text, StringComparison.Ordinal);
            Assert.Contains("\nyadokari_statistic{group=\"pio\",name=\"com\\\"1\\\" reads\",unit=\"\"} 7\n", text, StringComparison.Ordinal);
            Assert.Contains("\n# TYPE process_cpu_seconds_total counter\n", text, StringComparison.Ordinal);
            string[] samples = [.. Regex.Matches(text, @"^[a-z_]+(\{.*\})?(?= )", RegexOptions.Multiline).Select(m => m.Value)];
            Assert.Equal(samples.Length, samples.Distinct().Count());
        }
    }

    [Fact]
    public async Task Document_describes_every_resource_and_no_other()
    {
        using var document = JsonDocument.Parse(await _client.GetStringAsync("/openapi.json", Cancellation));
        Assert.StartsWith("3.1.", document.RootElement.GetProperty("openapi").GetString(), StringComparison.Ordinal);
        (string, string)[] described = [.. document.RootElement.GetProperty("paths").EnumerateObject()
            .SelectMany(path => path.Value.EnumerateObject().Select(method => (method.Name.ToUpperInvariant(), path.Name)))];
        using var api = new ControlApi(_monitor, ScriptedMonitor.Description);
        Assert.Equal(api.Routes.Order(), described.Order());

        // Each reference leads somewhere, and the members of requests are those that the code reads.
        foreach (Match reference in Regex.Matches(document.RootElement.GetRawText(), "\"#/components/(\\w+)/(\\w+)\""))
        {
            Assert.True(document.RootElement.GetProperty("components").GetProperty(reference.Groups[1].Value).TryGetProperty(reference.Groups[2].Value, out _), reference.Value);
        }

        JsonElement schemas = document.RootElement.GetProperty("components").GetProperty("schemas");
        foreach (JsonElement schema in schemas.EnumerateObject().Select(s => s.Value))
        {
            Assert.All(schema.GetProperty("required").EnumerateArray(), name => Assert.True(schema.GetProperty("properties").TryGetProperty(name.GetString()!, out _)));
        }

        foreach (JsonTypeInfo type in (JsonTypeInfo[])[
            BalloonJson.Default.BalloonStatus, BalloonJson.Default.BalloonRequest, ControlJson.Default.PowerRequest,
            ControlJson.Default.SizeRequest, ControlJson.Default.RunEvent, ControlJson.Default.Problem])
        {
            Assert.Equal(type.Properties.Select(p => p.Name).Order(), Described(type).Order());
        }

        Assert.Equal(ControlJson.Default.MachineStatus.Properties.Select(p => p.Name).Append("balloon").Order(), Described(ControlJson.Default.MachineStatus).Order());

        IEnumerable<string> Described(JsonTypeInfo type) => schemas.GetProperty(type.Type.Name).GetProperty("properties").EnumerateObject().Select(p => p.Name);
    }

    private static void CheckProblem(string body, int status, string? field)
    {
        Problem problem = JsonSerializer.Deserialize(body, ControlJson.Default.Problem)!;
        Assert.Equal((status, field), (problem.Status, problem.Field));
        Sentence.Check(problem.Detail);
        Assert.Equal($"{problem.What}: {problem.Remedy}.", problem.Detail);
    }

    private (int Status, string Body) Exchange(string message)
    {
        using Socket client = Connect();
        client.Send(Encoding.ASCII.GetBytes(message));
        string answer = ReadToEnd(client);
        return (int.Parse(answer.AsSpan("HTTP/1.1 ".Length, 3)), answer[(answer.IndexOf("\r\n\r\n", StringComparison.Ordinal) + 4)..]);
    }

    private Socket Attach(string keys)
    {
        Socket client = Connect();
        client.Send(Encoding.ASCII.GetBytes($"GET /machine/console HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: yadokari-console\r\n\r\n{keys}"));
        return client;
    }

    private Socket Connect()
    {
        var client = new Socket(AddressFamily.Unix, SocketType.Stream, ProtocolType.Unspecified) { ReceiveTimeout = 10_000 };
        client.Connect(new UnixDomainSocketEndPoint(_path));
        return client;
    }

    private static string Receive(Socket client)
    {
        byte[] piece = new byte[4096];
        return Encoding.ASCII.GetString(piece, 0, client.Receive(piece));
    }

    private static string ReadToEnd(Socket client)
    {
        var text = new StringBuilder();
        try
        {
            while (Receive(client) is { Length: > 0 } piece)
            {
                text.Append(piece);
            }
        }
        catch (SocketException error) when (error.SocketErrorCode == SocketError.ConnectionReset)
        {
            // Of a message that was not read to its end: the answer has come before.
        }

        return text.ToString();
    }
}
