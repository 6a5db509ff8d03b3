package android.app;

import android.content.Intent;
import android.os.Bundle;
import android.view.View;
import android.view.Window;
import doubles.ActivityThread;
import java.util.HashMap;
import java.util.Map;

/** As much of it as an activity without a screen needs. */
public class Activity extends android.view.ContextThemeWrapper {
    private final Map<Integer, View> views = new HashMap<>();
    private Intent intent = new Intent();

    protected void onCreate(Bundle state) { }

    public void begin(Intent intent) {
        this.intent = intent;
        onCreate(null);
    }

    public Intent getIntent() { return intent; }

    public Window getWindow() { return new Window(); }

    public void setContentView(int layout) { }

    /** Of the class that the layout in the APK names. */
    public <T extends View> T findViewById(int id) {
        @SuppressWarnings("unchecked")
        T view = (T) views.computeIfAbsent(id, ActivityThread::viewOf);
        return view;
    }

    public final void runOnUiThread(Runnable work) { ActivityThread.post(work); }

    public void finish() { ActivityThread.post(() -> System.exit(0)); }
}
