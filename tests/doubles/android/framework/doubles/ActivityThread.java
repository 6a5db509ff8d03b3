package doubles;

import android.app.Activity;
import android.content.Context;
import android.content.Intent;
import android.util.Log;
import android.view.View;
import java.io.PrintWriter;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;

/** The process of an app: ActivityThread CLASS PACKAGE [KEY VALUE,VALUE...]... */
public class ActivityThread {
    private static final BlockingQueue<Runnable> queue = new LinkedBlockingQueue<>();

    public static void main(String[] words) throws Exception {
        Thread.setDefaultUncaughtExceptionHandler((thread, error) -> die(thread.getName(), error));
        Context.packageName = words[1];
        Context.dataFolder = "/data/data/" + words[1];
        Intent intent = new Intent();
        for (int i = 2; i + 1 < words.length; i += 2) {
            intent.extras.put(words[i], words[i + 1].split("(?<!\\\\),"));
        }
        Activity activity =
            (Activity) Class.forName(words[0]).getDeclaredConstructor().newInstance();
        activity.begin(intent);
        while (true) queue.take().run();
    }

    public static void post(Runnable work) { queue.add(work); }

    /** What the package manager found in the APK's layouts: a line an id, with its class. */
    public static View viewOf(int id) {
        try {
            Path known = Path.of("/data/system/packages/" + Context.packageName + ".views");
            String wanted = String.format("0x%08x ", id);
            for (String line : Files.readAllLines(known)) {
                if (line.startsWith(wanted)) {
                    String name = "android.widget." + line.substring(wanted.length());
                    return (View) Class.forName(name).getDeclaredConstructor().newInstance();
                }
            }
        } catch (Exception error) {
            throw new IllegalStateException(error);
        }
        return null;
    }

    private static void die(String thread, Throwable error) {
        StringWriter text = new StringWriter();
        error.printStackTrace(new PrintWriter(text, true));
        Log.e("AndroidRuntime", "FATAL EXCEPTION: " + thread + "\n" + text);
        Runtime.getRuntime().halt(137);
    }
}
