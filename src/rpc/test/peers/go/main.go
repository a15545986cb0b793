// grpc-go as a peer of the interoperability tests.
//
//	peer serve            serves test.Interop on a free port and prints the port
//	peer call PORT [gzip] calls test.Interop on that port and prints one line for each case: "ok NAME" or "failed NAME: why"
package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

var cancellations atomic.Uint32

type message = wrapperspb.BytesValue

func numbers(values ...uint32) []byte {
	var data []byte
	for _, value := range values {
		data = binary.BigEndian.AppendUint32(data, value)
	}
	return data
}

func unaryMethod(name string, handle func(context.Context, []byte) ([]byte, error)) grpc.MethodDesc {
	return grpc.MethodDesc{MethodName: name, Handler: func(_ any, ctx context.Context, decode func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		request := new(message)
		if err := decode(request); err != nil {
			return nil, err
		}
		response, err := handle(ctx, request.Value)
		return wrapperspb.Bytes(response), err
	}}
}

func echo(ctx context.Context, request []byte) ([]byte, error) {
	received, _ := metadata.FromIncomingContext(ctx)
	if values := received.Get("x-head"); len(values) > 0 {
		grpc.SendHeader(ctx, metadata.Pairs("x-head", values[0]))
	}
	if values := received.Get("x-trailer-bin"); len(values) > 0 {
		grpc.SetTrailer(ctx, metadata.Pairs("x-trailer-bin", values[0]))
	}
	return request, nil
}

func service() *grpc.ServiceDesc {
	return &grpc.ServiceDesc{
		ServiceName: "test.Interop",
		HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{
			unaryMethod("Unary", echo),
			unaryMethod("Sized", func(_ context.Context, request []byte) ([]byte, error) {
				return bytes.Repeat([]byte{7}, int(binary.BigEndian.Uint32(request))), nil
			}),
			unaryMethod("Fail", func(_ context.Context, request []byte) ([]byte, error) {
				return nil, status.Error(codes.Code(request[0]), string(request[1:]))
			}),
			unaryMethod("Sleep", func(ctx context.Context, _ []byte) ([]byte, error) {
				<-ctx.Done()
				cancellations.Add(1)
				return nil, ctx.Err()
			}),
			unaryMethod("Slow", func(_ context.Context, request []byte) ([]byte, error) {
				time.Sleep(30 * time.Millisecond)
				return request, nil
			}),
			unaryMethod("Cancellations", func(context.Context, []byte) ([]byte, error) {
				return numbers(cancellations.Load()), nil
			}),
		},
		Streams: []grpc.StreamDesc{
			{StreamName: "ServerStream", ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
				request := new(message)
				if err := stream.RecvMsg(request); err != nil {
					return err
				}
				count, size := binary.BigEndian.Uint32(request.Value), binary.BigEndian.Uint32(request.Value[4:])
				for i := uint32(0); i < count; i++ {
					if err := stream.SendMsg(wrapperspb.Bytes(bytes.Repeat([]byte{byte(i)}, int(size)))); err != nil {
						return err
					}
				}
				return nil
			}},
			{StreamName: "ClientStream", ClientStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
				sum := uint32(0)
				for {
					request := new(message)
					if err := stream.RecvMsg(request); errors.Is(err, io.EOF) {
						return stream.SendMsg(wrapperspb.Bytes(numbers(sum)))
					} else if err != nil {
						return err
					}
					sum += uint32(len(request.Value))
				}
			}},
			{StreamName: "Bidi", ClientStreams: true, ServerStreams: true, Handler: func(_ any, stream grpc.ServerStream) error {
				for {
					request := new(message)
					if err := stream.RecvMsg(request); errors.Is(err, io.EOF) {
						return nil
					} else if err != nil {
						cancellations.Add(1)
						return err
					}
					if err := stream.SendMsg(request); err != nil {
						return err
					}
				}
			}},
		},
	}
}

func serve() {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	server := grpc.NewServer()
	server.RegisterService(service(), struct{}{})
	fmt.Println(listener.Addr().(*net.TCPAddr).Port)
	go func() {
		io.Copy(io.Discard, os.Stdin)
		server.Stop()
	}()
	server.Serve(listener)
}

func call(port string, compressed bool) {
	options := []grpc.DialOption{grpc.WithTransportCredentials(insecure.NewCredentials())}
	if compressed {
		options = append(options, grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name)))
	}
	connection, err := grpc.NewClient("127.0.0.1:"+port, options...)
	if err != nil {
		panic(err)
	}
	unary := func(ctx context.Context, name string, request []byte, options ...grpc.CallOption) ([]byte, error) {
		response := new(message)
		err := connection.Invoke(ctx, "/test.Interop/"+name, wrapperspb.Bytes(request), response, options...)
		return response.Value, err
	}
	background := context.Background()
	count := func() uint32 {
		response, _ := unary(background, "Cancellations", nil)
		return binary.BigEndian.Uint32(response)
	}
	stream := func(ctx context.Context, name string, requests ...[]byte) ([]int, error) {
		opened, err := connection.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, "/test.Interop/"+name)
		if err != nil {
			return nil, err
		}
		for _, request := range requests {
			if err := opened.SendMsg(wrapperspb.Bytes(request)); err != nil {
				return nil, err
			}
		}
		opened.CloseSend()
		lengths := []int{}
		for {
			response := new(message)
			if err := opened.RecvMsg(response); errors.Is(err, io.EOF) {
				return lengths, nil
			} else if err != nil {
				return lengths, err
			}
			lengths = append(lengths, len(response.Value))
		}
	}
	report := func(name string, ok bool, why ...any) {
		if ok {
			fmt.Println("ok", name)
		} else {
			fmt.Println("failed", name+":", fmt.Sprint(why...))
		}
	}

	response, err := unary(background, "Unary", nil)
	report("empty_unary", err == nil && len(response) == 0, err)

	large := bytes.Repeat([]byte("0123456789abcdef"), 70000)
	response, err = unary(background, "Unary", large)
	report("large_unary", err == nil && bytes.Equal(response, large), err)
	response, err = unary(background, "Sized", numbers(3000000))
	report("large_response", err == nil && len(response) == 3000000, err)

	lengths, err := stream(background, "ServerStream", numbers(1000, 64))
	report("server_streaming", err == nil && len(lengths) == 1000, err, len(lengths))
	lengths, err = stream(background, "ServerStream", numbers(20, 100000))
	report("server_streaming_large", err == nil && len(lengths) == 20 && lengths[19] == 100000, err, lengths)
	lengths, err = stream(background, "ClientStream", make([]byte, 27182), make([]byte, 8), make([]byte, 1828))
	report("client_streaming", err == nil && len(lengths) == 1, err, lengths)
	lengths, err = stream(background, "Bidi", make([]byte, 27182), make([]byte, 8), make([]byte, 1828))
	report("ping_pong", err == nil && fmt.Sprint(lengths) == "[27182 8 1828]", err, lengths)
	lengths, err = stream(background, "Bidi")
	report("empty_stream", err == nil && len(lengths) == 0, err, lengths)

	before := count()
	ctx, cancel := context.WithCancel(background)
	go func() {
		count()
		cancel()
	}()
	_, err = unary(ctx, "Sleep", nil)
	report("cancel_after_begin", status.Code(err) == codes.Canceled, err)
	for deadline := time.Now().Add(5 * time.Second); count() == before && time.Now().Before(deadline); {
	}

	ctx, cancel = context.WithTimeout(background, 50*time.Millisecond)
	_, err = unary(ctx, "Sleep", nil)
	report("timeout", status.Code(err) == codes.DeadlineExceeded, err)
	cancel()

	var head, trailer metadata.MD
	ctx = metadata.AppendToOutgoingContext(background, "x-head", "value", "x-trailer-bin", "\xab\x00\xff")
	_, err = unary(ctx, "Unary", nil, grpc.Header(&head), grpc.Trailer(&trailer))
	report("metadata", err == nil && fmt.Sprint(head.Get("x-head")) == "[value]" && fmt.Sprint(trailer.Get("x-trailer-bin")) == "[\xab\x00\xff]", err, head, trailer)

	special := "\t\ntest with whitespace\r\nand Unicode BMP \u263a and non-BMP \U0001F608\t\n"
	for code := codes.Code(1); code <= 16; code++ {
		_, err = unary(background, "Fail", append([]byte{byte(code)}, special...))
		report(fmt.Sprint("status_", uint32(code)), status.Code(err) == code && status.Convert(err).Message() == special, err)
	}
	_, err = unary(background, "Nothing", nil)
	report("unimplemented", status.Code(err) == codes.Unimplemented, err)
}

func main() {
	if os.Args[1] == "serve" {
		serve()
	} else {
		call(os.Args[2], len(os.Args) > 3)
	}
}
