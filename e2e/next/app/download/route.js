const PIECE = new Uint8Array(64 * 1024).fill(120);

export async function GET(request) {
  let left = Number(new URL(request.url).searchParams.get("bytes"));
  const pieces = new ReadableStream({
    pull(stream) {
      const piece = PIECE.slice(0, Math.min(left, PIECE.length));
      left -= piece.length;
      if (piece.length > 0) stream.enqueue(piece);
      if (left === 0) stream.close();
    },
  });
  return new Response(pieces, { headers: { "content-type": "application/octet-stream" } });
}
