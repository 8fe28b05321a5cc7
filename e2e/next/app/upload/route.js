// Counts what it is sent and keeps none of it.
export async function POST(request) {
  let bytes = 0;
  for await (const piece of request.body) bytes += piece.length;
  return Response.json({ bytes });
}
