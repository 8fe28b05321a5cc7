import { opened } from "../gates";

export async function GET(request) {
  const gate = new URL(request.url).searchParams.get("gate");
  const text = new TextEncoder();
  const events = new ReadableStream({
    async start(stream) {
      stream.enqueue(text.encode("data: first\n\n"));
      await opened(gate);
      stream.enqueue(text.encode("data: last\n\n"));
      stream.close();
    },
  });
  return new Response(events, { headers: { "content-type": "text/event-stream", "cache-control": "no-cache" } });
}
