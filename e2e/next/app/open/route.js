import { open } from "../gates";

export async function POST(request) {
  open(new URL(request.url).searchParams.get("gate"));
  return new Response(null, { status: 204 });
}
