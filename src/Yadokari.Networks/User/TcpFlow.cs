using Yadokari.Core.Networks;
using Yadokari.Linux;

namespace Yadokari.Networks.User;

/// <summary>
/// A proxied TCP connection: this end of the guest's connection (RFC 9293), and a socket of the host. Data of the guest is acknowledged once
/// the host's kernel or the buffer here has it; the receive window advertised to the guest is the free space of that buffer. Data is read from
/// the host only while the send buffer has room to keep it until the guest acknowledges it. Under the network's lock.
/// </summary>
internal sealed class TcpFlow : IReadyHandler, IDisposable
{
    /// <summary>Bytes of <see cref="TcpTable.Budget"/> that a connection holds for its whole lifetime.</summary>
    public const int Reserve = 2 * ByteRing.MinCapacity;

    private const int MaxToGuest = 1 << 20;
    private const int MaxToHost = 1 << 18;
    private const int ReceiveWindowScale = 3;
    private const int OptionsSize = 8;
    private const int MaxSegment = 60_000; // Data of a frame that the guest receives unsegmented (TSO).
    private const int DefaultSegmentSize = 536; // RFC 9293, 3.7.1
    private const int MinSegmentSize = 48;
    private const int MaxRetransmissions = 8;
    private const int DuplicateAckThreshold = 3; // RFC 5681, 3.2
    private const long InitialRto = 300; // Initial retransmission timeout in milliseconds, doubled with each retransmission (RFC 6298, 5.5).

    private readonly TcpTable _table;
    private readonly GuestLink _link;
    private readonly HostSocket _socket;
    private readonly ByteRing _toGuest; // Send buffer: from SND.UNA on.
    private readonly ByteRing _toHost; // Receive buffer: its free space is the window advertised to the guest.
    private readonly int _maxSendSegmentSize;
    private State _state;
    private uint _receiveNext; // RCV.NXT
    private uint _sendUnacknowledged; // SND.UNA
    private uint _sendNext; // SND.NXT
    private uint _sendMax; // The highest SND.NXT ever: a retransmission sets SND.NXT back.
    private uint _recover; // _sendMax at the last fast retransmit: no other one before all of it is acknowledged (RFC 6582, 3.2, "recover").
    private int _sendWindow; // SND.WND
    private int _sendScale;
    private int _receiveScale; // 0 if the guest's SYN has no window scale option (RFC 7323, 2.2).
    private int _segmentSize = DefaultSegmentSize;
    private int _lastAdvertised;
    private int _duplicateAcks;
    private int _retransmissions;
    private bool _hostMayRead = true;
    private bool _hostMayWrite;
    private bool _hostReachedEnd;
    private bool _finReceived;
    private bool _finAcknowledged;
    private bool _hostShutDown;
    private bool _ackPending;

    private TcpFlow(TcpTable table, GuestLink link, in Conversation conversation, HostSocket socket, State state)
    {
        (_table, _link, _socket, _state) = (table, link, socket, state);
        (_toGuest, _toHost) = (new ByteRing(MaxToGuest, table.Budget), new ByteRing(MaxToHost, table.Budget));
        Conversation = conversation;
        _sendUnacknowledged = _sendNext = _sendMax = _recover = (uint)Random.Shared.NextInt64(uint.MaxValue);
        _maxSendSegmentSize = GuestLink.Mtu - (GuestLink.Headers(conversation.Guest.IsV6) - GuestLink.EthernetSize) - TcpSegment.HeaderSize;
    }

    private enum State
    {
        /// <summary>The guest sent a SYN; the host's socket is still connecting.</summary>
        Connecting,

        /// <summary>SYN-RECEIVED: the guest sent a SYN, which was answered with SYN and ACK.</summary>
        SynReceived,

        /// <summary>SYN-SENT: a SYN was sent to the guest.</summary>
        SynSent,

        /// <summary>ESTABLISHED, and the states after it: which side has sent a FIN is kept beside.</summary>
        Established,

        /// <summary>CLOSED.</summary>
        Closed,
    }

    /// <summary>Addresses and ports of both ends.</summary>
    public Conversation Conversation { get; }

    /// <summary>The socket's token in the reactor.</summary>
    public ulong Token { get; set; }

    /// <summary>When the retransmission timer expires (<see cref="OnTimer"/>), in milliseconds of <see cref="Environment.TickCount64"/>; <see cref="long.MaxValue"/> if it is not armed.</summary>
    public long Deadline { get; private set; } = long.MaxValue;

    /// <summary>A connection that the guest opens by a SYN; <paramref name="socket"/> is connecting.</summary>
    public static TcpFlow FromGuest(TcpTable table, GuestLink link, in Conversation conversation, HostSocket socket, in TcpSegment syn)
    {
        var flow = new TcpFlow(table, link, conversation, socket, State.Connecting) { _receiveNext = syn.Sequence + 1 };
        flow.ReadOptions(syn);
        return flow;
    }

    /// <summary>A connection that was accepted on a forwarded port of the host: sends a SYN to the guest.</summary>
    public static TcpFlow FromHost(TcpTable table, GuestLink link, in Conversation conversation, HostSocket socket)
    {
        var flow = new TcpFlow(table, link, conversation, socket, State.SynSent) { _hostMayWrite = true };
        flow.SendSyn();
        return flow;
    }

    /// <inheritdoc/>
    public void OnReady(Readiness readiness)
    {
        if (_state == State.Closed)
        {
            return;
        }

        bool error = (readiness & (Readiness.Error | Readiness.HungUp)) != 0;
        _hostMayRead |= error || (readiness & Readiness.Read) != 0;
        if (error || (readiness & Readiness.Write) != 0)
        {
            if (_state == State.Connecting)
            {
                if (_socket.TakeError() < 0)
                {
                    Refuse();
                    return;
                }

                _state = State.SynReceived;
                _socket.DisableNagle();
                SendSyn();
            }

            _hostMayWrite = true;
        }

        FlushToHost();
        Move();
    }

    /// <summary>A segment of the guest.</summary>
    public void OnSegment(in TcpSegment segment)
    {
        if (segment.Has(TcpSegment.Rst))
        {
            // RFC 5961, 3.2: a RST is accepted only if its sequence number is RCV.NXT; in SYN-SENT, if it acknowledges the SYN.
            if (_state == State.SynSent ? segment.Has(TcpSegment.Ack) && segment.Acknowledged == _sendNext : segment.Sequence == _receiveNext)
            {
                Abort();
            }

            return;
        }

        if (segment.Has(TcpSegment.Syn))
        {
            OnSyn(segment);
            return;
        }

        if (!segment.Has(TcpSegment.Ack) || _state is State.Connecting or State.SynSent or State.Closed)
        {
            return;
        }

        OnAcknowledgement(segment);
        if (_state == State.Established && segment.Length > 0)
        {
            OnData(segment);
        }

        Move();
    }

    /// <summary>Moves data from the host to the guest: after the frame queue has room again, or the guest acknowledged data or opened its window.</summary>
    public void Move()
    {
        if (_state != State.Established)
        {
            return;
        }

        do
        {
            Send();
        }
        while (ReadHost());

        if (_state == State.Established && _hostReachedEnd && _finReceived && _toHost.Count == 0 && _finAcknowledged)
        {
            Acknowledge();
            End();
        }
    }

    /// <summary>The retransmission timer: if it has expired, retransmits, probes a zero window, or resets the connection after too many attempts.</summary>
    public void OnTimer(long now)
    {
        if (now < Deadline || _state == State.Closed)
        {
            return;
        }

        if (++_retransmissions > MaxRetransmissions)
        {
            Abort();
            Reset();
            return;
        }

        ArmRetransmissionTimer();
        RewindToUnacknowledged();
        if (_state != State.Established)
        {
            SendSyn();
            return;
        }

        if (_sendWindow == 0 && _toGuest.Count > 0)
        {
            SendData(0, 1, TcpSegment.Psh); // Zero-window probe (RFC 9293, 3.8.6.1).
            RewindToUnacknowledged();
        }

        Move();
    }

    /// <summary>Sends the pending ACK, if there is one.</summary>
    public void Acknowledge()
    {
        if (_ackPending && _state == State.Established)
        {
            SendEmpty(TcpSegment.Ack, _sendNext);
        }
    }

    /// <summary>Closes the host's socket and frees the buffers. Sends nothing to the guest, and stays in the table.</summary>
    public void Dispose()
    {
        _state = State.Closed;
        Deadline = long.MaxValue;
        _socket.Dispose();
        _toGuest.Dispose();
        _toHost.Dispose();
    }

    private uint EndOfStream => _sendUnacknowledged + (uint)_toGuest.Count;

    private void OnSyn(in TcpSegment segment)
    {
        if (_state == State.SynSent && segment.Has(TcpSegment.Ack) && segment.Acknowledged == _sendUnacknowledged + 1)
        {
            ReadOptions(segment);
            _receiveNext = segment.Sequence + 1;
            _sendWindow = segment.Window;
            _sendUnacknowledged++;
            Establish();
            ScheduleAck();
            Move();
        }
        else if (_state == State.SynReceived && segment.Sequence + 1 == _receiveNext)
        {
            _sendNext = _sendUnacknowledged;
            SendSyn();
        }
        else if (_state == State.Established)
        {
            SendEmpty(TcpSegment.Ack, _sendNext); // Challenge ACK (RFC 5961, 4.2): a guest that has no such connection any more answers with a RST.
        }
    }

    private void OnAcknowledgement(in TcpSegment segment)
    {
        int window = segment.Window << _sendScale;
        uint more = segment.Acknowledged - _sendUnacknowledged;
        if (more > _sendMax - _sendUnacknowledged)
        {
            ScheduleAck(); // It acknowledges data that was never sent.
            return;
        }

        if (_state == State.SynReceived)
        {
            if (more != 1)
            {
                return;
            }

            _sendUnacknowledged++;
            more = 0;
            _sendWindow = window;
            Establish();
        }

        if (more > 0)
        {
            _finAcknowledged |= more > (uint)_toGuest.Count; // The FIN takes a sequence number, but no byte of the buffer.
            _toGuest.Take((int)Math.Min(more, (uint)_toGuest.Count));
            _sendUnacknowledged = segment.Acknowledged;
            if ((int)(_sendNext - _sendUnacknowledged) < 0)
            {
                _sendNext = _sendUnacknowledged;
            }

            (_duplicateAcks, _retransmissions, _sendWindow) = (0, 0, window);
            ArmRetransmissionTimer();
        }
        else if (segment.Length == 0 && window == _sendWindow && window > 0 && _sendNext != _sendUnacknowledged && ++_duplicateAcks == DuplicateAckThreshold
            && (int)(_sendUnacknowledged - _recover) >= 0)
        {
            _recover = _sendMax;
            RewindToUnacknowledged();
        }

        // The guest answers zero-window probes: the connection stays open however long the window is zero (RFC 9293, 3.8.6.1).
        _retransmissions = Math.Min(_retransmissions, window == 0 ? MaxRetransmissions / 2 : _retransmissions);
        _sendWindow = window;
    }

    private void OnData(in TcpSegment segment)
    {
        ScheduleAck();
        uint before = _receiveNext - segment.Sequence;
        if (before >= segment.Length)
        {
            return; // A duplicate, or out of order: there is no reassembly queue.
        }

        ReadOnlySpan<byte> data = segment.Data[(int)Math.Min(before, (uint)segment.Data.Length)..];
        int taken = 0;
        if (_toHost.Count == 0 && _hostMayWrite && data.Length > 0)
        {
            taken = SendToHost(data);
            if (taken < 0)
            {
                return;
            }
        }

        taken += _toHost.Put(data[taken..]);
        _receiveNext += (uint)taken;
        if (segment.Has(TcpSegment.Fin) && taken == data.Length && !_finReceived)
        {
            _receiveNext++;
            _finReceived = true;
        }

        FlushToHost();
    }

    // Negative if the socket failed: the connection is reset and closed then.
    private int SendToHost(ReadOnlySpan<byte> data)
    {
        int sent = _socket.Send(data);
        if (sent == HostSocket.Again)
        {
            _hostMayWrite = false;
            return 0;
        }

        if (sent < 0)
        {
            Abort();
            Reset();
        }
        else if (sent < data.Length)
        {
            _hostMayWrite = false;
        }

        return sent;
    }

    private void FlushToHost()
    {
        if (_state != State.Established)
        {
            return;
        }

        while (_toHost.Count > 0 && _hostMayWrite)
        {
            int sent = SendToHost(_toHost.ReadableSpan());
            if (sent < 0)
            {
                return;
            }

            _toHost.Take(sent);
        }

        if (_finReceived && _toHost.Count == 0 && !_hostShutDown)
        {
            _hostShutDown = true;
            _socket.ShutdownSend();
        }

        // Window update: once half the buffer is free, or, if the budget allows no such buffer, once the buffer is empty.
        if (_lastAdvertised < MaxToHost / 4 && _toHost.Free is var free && (free >= MaxToHost / 2 || (free > _lastAdvertised && _toHost.Count == 0)))
        {
            ScheduleAck();
        }
    }

    private void ScheduleAck()
    {
        _ackPending = true;
        _table.ToAcknowledge(this);
    }

    // True if there are new bytes, or an end of the stream, to send.
    private bool ReadHost()
    {
        bool came = false;
        while (_state == State.Established && _hostMayRead && !_hostReachedEnd && _toGuest.WritableSpan() is { Length: > 0 } room)
        {
            int count = _socket.Receive(room);
            _toGuest.Commit(Math.Max(count, 0));
            if (count > 0)
            {
                came = true;
                if (count == room.Length)
                {
                    continue;
                }
            }

            if (count == 0)
            {
                _hostReachedEnd = true;
                came = true;
            }
            else if (count == HostSocket.Again)
            {
                _hostMayRead = false;
            }
            else if (count < 0)
            {
                Abort();
                Reset();
                return false;
            }

            // A short read: send these bytes first. The next read finds out whether there are more.
            break;
        }

        return came;
    }

    private void Send()
    {
        bool tso = (_link.GuestOffloads & (Conversation.Guest.IsV6 ? NetworkOffloads.Tcp6 : NetworkOffloads.Tcp4)) != 0;
        int maxLength = tso ? Math.Max(_segmentSize, MaxSegment / _segmentSize * _segmentSize) : _segmentSize;
        while (true)
        {
            int sent = (int)(_sendNext - _sendUnacknowledged);
            int left = _toGuest.Count - sent;
            int piece = Math.Min(Math.Min(left, _sendWindow - sent), maxLength);

            // Silly window syndrome avoidance: no small segment while only the window keeps it small (RFC 9293, 3.8.6.2.1).
            if (piece <= 0 || (piece < _segmentSize && piece < left && sent > 0))
            {
                break;
            }

            if (!SendData(sent, piece, piece == left ? TcpSegment.Psh : (byte)0))
            {
                return;
            }
        }

        if (_hostReachedEnd && !_finAcknowledged && _sendNext == EndOfStream && SendEmpty(TcpSegment.Fin | TcpSegment.Ack, _sendNext))
        {
            Advance(_sendNext + 1);
        }
    }

    private bool SendData(int offset, int length, byte push)
    {
        if (!_link.TryBegin(Conversation.Guest.IsV6, TcpSegment.HeaderSize + length, out Span<byte> body))
        {
            _table.WaitForQueue(this);
            return false;
        }

        _toGuest.CopyTo(offset, body[TcpSegment.HeaderSize..]);
        uint sequence = _sendUnacknowledged + (uint)offset;
        WriteHeader(body, (byte)(TcpSegment.Ack | push), sequence);
        _link.End(Conversation.Other, Conversation.Guest, GuestLink.Tcp, body, TcpSegment.ChecksumAt, TcpSegment.HeaderSize, length > _segmentSize ? _segmentSize : 0);
        Advance(sequence + (uint)length);
        return true;
    }

    private bool SendEmpty(byte flags, uint sequence)
    {
        if (!_link.TryBegin(Conversation.Guest.IsV6, TcpSegment.HeaderSize, out Span<byte> body))
        {
            _table.WaitForQueue(this);
            return false;
        }

        WriteHeader(body, flags, sequence);
        _link.End(Conversation.Other, Conversation.Guest, GuestLink.Tcp, body, TcpSegment.ChecksumAt);
        return true;
    }

    private void SendSyn()
    {
        if (_link.TryBegin(Conversation.Guest.IsV6, TcpSegment.HeaderSize + OptionsSize, out Span<byte> body))
        {
            byte flags = (byte)(TcpSegment.Syn | (_state == State.SynReceived ? TcpSegment.Ack : 0));
            _lastAdvertised = _toHost.Free;
            TcpSegment.Write(body, Conversation.OtherPort, Conversation.GuestPort, _sendUnacknowledged, _receiveNext, flags, _lastAdvertised, OptionsSize);
            TcpSegment.WriteOptions(body[TcpSegment.HeaderSize..], _maxSendSegmentSize, ReceiveWindowScale);
            _link.End(Conversation.Other, Conversation.Guest, GuestLink.Tcp, body, TcpSegment.ChecksumAt);
        }

        Advance(_sendUnacknowledged + 1);
    }

    private void WriteHeader(Span<byte> body, byte flags, uint sequence)
    {
        _lastAdvertised = _toHost.Free;
        TcpSegment.Write(body, Conversation.OtherPort, Conversation.GuestPort, sequence, _receiveNext, flags, _lastAdvertised >> _receiveScale);
        _ackPending = false;
    }

    private void Advance(uint next)
    {
        _sendNext = next;
        if ((int)(next - _sendMax) > 0)
        {
            _sendMax = next;
        }

        if (Deadline == long.MaxValue)
        {
            ArmRetransmissionTimer();
        }
    }

    // Runs while data is unacknowledged (retransmission timer), or while a zero window holds data back (persist timer).
    private void ArmRetransmissionTimer()
    {
        bool runs = _sendMax != _sendUnacknowledged || (_sendWindow == 0 && _toGuest.Count > 0);
        Deadline = runs ? Environment.TickCount64 + (InitialRto << _retransmissions) : long.MaxValue;
        _table.ArmTimer(Deadline);
    }

    private void RewindToUnacknowledged()
    {
        _sendNext = _sendUnacknowledged;
        _duplicateAcks = 0;
    }

    private void ReadOptions(in TcpSegment syn)
    {
        (int size, int? scale) = syn.ReadOptions(DefaultSegmentSize);
        _segmentSize = Math.Clamp(size, MinSegmentSize, _maxSendSegmentSize);
        (_sendScale, _receiveScale) = (scale ?? 0, scale is null ? 0 : ReceiveWindowScale);
    }

    private void Establish()
    {
        _state = State.Established;
        _retransmissions = 0;
        ArmRetransmissionTimer();
    }

    private void Refuse()
    {
        Reset();
        Abort();
    }

    private void Reset() => _table.SendReset(Conversation, _state == State.Connecting ? 0 : _sendNext, _receiveNext);

    private void Abort()
    {
        _socket.Abort();
        End();
    }

    private void End()
    {
        Dispose();
        _table.Remove(this);
    }
}
