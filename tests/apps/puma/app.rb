# Application model: Puma and Net::HTTP. A thread of Puma's pool reads a request, or takes one that the reactor has read,
# makes its calls and answers it. Each of the two calls at the same time has a thread of its own.

require 'net/http'
require 'optparse'
require 'puma'
require 'rack'
require 'rack/handler/puma'

# More than requests are ever in flight, so that none waits for a thread.
THREADS = 400

# A backend, and its connections that stay open. Of a limited number, callers wait for one.
class Backend
  def initialize(address, limit)
    @host, port = address.split(':')
    @port = port.to_i
    @limited = limit.positive?
    @idle = Queue.new
    limit.times { @idle << nil }
  end

  def get(path, headers)
    connection = @limited || !@idle.empty? ? take : nil
    connection ||= Net::HTTP.new(@host, @port, nil).tap { |http| http.keep_alive_timeout = 600 }.start
    answer = connection.get(path, headers)
    raise "#{path} was answered with #{answer.code}" unless answer.code == '200'
  ensure
    @idle << connection if connection || @limited
  end

  private

  # Another thread may have been faster.
  def take
    @idle.pop(!@limited)
  rescue ThreadError
    nil
  end
end

# What Puma calls.
class App
  def initialize(options)
    @first = Backend.new(options.fetch(:first), options.fetch(:pool))
    @second = Backend.new(options.fetch(:second), options.fetch(:pool))
    @pass = options[:pass]
  end

  def call(env)
    token = env['PATH_INFO'].delete_prefix('/work/')
    passed = @pass && env["HTTP_#{@pass.upcase.tr('-', '_')}"]
    headers = passed ? { @pass => passed } : {}
    @first.get("/a/#{token}", headers)
    compute
    @second.get("/b/#{token}", headers)
    pair = [[@first, 'c'], [@second, 'd']]
    pair.map { |backend, call| Thread.new { backend.get("/#{call}/#{token}", headers) } }.each(&:join)
    [200, { 'Content-Type' => 'text/plain' }, ["done\n"]]
  end

  private

  # Keeps the processor busy for 50 to 100 microseconds.
  def compute
    ends = now + rand(50..100)
    nil while now < ends
  end

  def now
    Process.clock_gettime(Process::CLOCK_MONOTONIC, :microsecond)
  end
end

options = {}
OptionParser.new do |parser|
  parser.on('--listen ADDRESS') { |address| options[:listen] = address }
  parser.on('--first ADDRESS') { |address| options[:first] = address }
  parser.on('--second ADDRESS') { |address| options[:second] = address }
  parser.on('--pool N', Integer) { |pool| options[:pool] = pool }
  parser.on('--pass HEADER') { |header| options[:pass] = header }
end.parse!

host, port = options.fetch(:listen).split(':')
Rack::Handler::Puma.run(App.new(options), Host: host, Port: port, Threads: "#{THREADS}:#{THREADS}", Silent: true) do |launcher|
  launcher.events.on_booted do
    $stdout.puts 'listening'
    $stdout.flush
  end
end
